//! Header and trailer fields (RFC 9110 section 5): one contiguous buffer with
//! an offset table.
//!
//! A head arrives, is stored and is delivered in this one form, so that every
//! function of the standard reads the same thing, be it a client's request, an
//! origin's response, a stored head or a row of a test.
//!
//! What always holds: every live line stands in the buffer as
//! `name: value\r\n`, ready to be written; names are lower-case tokens; values
//! have no leading or trailing white space and neither CR, LF nor NUL.
//!
//! Removing a line only drops its entry in the table; [`Fields::compact`] gives
//! the bytes back, and is called before a head is kept. A compacted head is one
//! allocation, of just the size it needs: the lines, and behind them the table, in five
//! bytes a line. Whoever changes it gets the two-part form back.

use std::ops::Range;

/// Where one line stands in the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Line {
    name_at: u32,
    name_len: u32,
    value_len: u32,
}

impl Line {
    fn name(self) -> Range<usize> {
        let at = self.name_at as usize;
        at..at + self.name_len as usize
    }

    /// The value begins behind the name and `": "`.
    fn value(self) -> Range<usize> {
        let at = self.name_at as usize + self.name_len as usize + 2;
        at..at + self.value_len as usize
    }

    /// For the table of a compacted head, where everything is small enough for it.
    fn pack(self) -> [u8; PACKED] {
        let (at, value) = ((self.name_at as u16).to_le_bytes(), (self.value_len as u16).to_le_bytes());
        [at[0], at[1], self.name_len as u8, value[0], value[1]]
    }

    fn unpack(packed: &[u8]) -> Line {
        let [a, b, name_len, c, d, ..] = *packed else {
            return Line { name_at: 0, name_len: 0, value_len: 0 };
        };
        Line {
            name_at: u32::from(u16::from_le_bytes([a, b])),
            name_len: u32::from(name_len),
            value_len: u32::from(u16::from_le_bytes([c, d])),
        }
    }

    /// The whole line with its CRLF.
    fn whole(self) -> Range<usize> {
        let start = self.name_at as usize;
        start..start + self.name_len as usize + 2 + self.value_len as usize + 2
    }
}

/// An ordered list of field lines in one buffer.
#[derive(Clone, Default)]
pub struct Fields {
    /// The lines; in a compacted head the table behind them, and its length.
    bytes: Vec<u8>,
    /// Empty in a compacted head.
    lines: Vec<Line>,
    /// How many lines the table in `bytes` has.
    packed: u32,
    /// A bit for every name that is there, and perhaps for some that are there no more: most
    /// names that are asked for are not, and nothing has to be looked through for them.
    names: u32,
}

/// What the table of a compacted head takes for a line: two bytes for where its name
/// begins, one for the length of that, two for the length of the value.
const PACKED: usize = 5;

/// Why a line was refused by [`Fields::push`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadField {
    /// The name is empty or has a byte that no token has (RFC 9110 5.6.2).
    #[error("a field name is not a token")]
    Name,
    /// The value has a CR, LF, NUL or another control character.
    #[error("a field value has a control character")]
    Value,
    /// The buffer would pass 4 GiB.
    #[error("the header section is too large")]
    Size,
}

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// No fields yet, but room for `lines` of them in `bytes` bytes.
    pub fn with_capacity(lines: usize, bytes: usize) -> Self {
        Fields { bytes: Vec::with_capacity(bytes), lines: Vec::with_capacity(lines), packed: 0, names: 0 }
    }

    /// Takes all lines out, and keeps the room that they had.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
        (self.packed, self.names) = (0, 0);
    }

    /// Appends a line. The name is lower-cased, white space around the value is
    /// dropped; anything that would not survive being written is refused.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: &[u8]) -> Result<(), BadField> {
        self.push_line(name.as_ref(), trim(value))
    }

    fn push_line(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        // All bytes are looked at, which is faster than to stop at the first bad one.
        if value.iter().fold(false, |bad, &b| bad | ((b < 0x20) & (b != b'\t')) | (b == 0x7f)) {
            return Err(BadField::Value);
        }
        self.unpack();
        let at = self.bytes.len();
        if u32::try_from(at + name.len() + value.len() + 4).is_err() {
            return Err(BadField::Size);
        }
        let (name_at, name_len, value_len) = (at as u32, name.len() as u32, value.len() as u32);
        self.bytes.reserve(name.len() + value.len() + 4);
        let mut is_token = !name.is_empty();
        self.bytes.extend(name.iter().map(|&byte| {
            let lower = LOWER[usize::from(byte)];
            is_token &= lower != 0;
            lower
        }));
        if !is_token {
            self.bytes.truncate(at);
            return Err(BadField::Name);
        }
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        self.lines.push(Line { name_at, name_len, value_len });
        self.names |= bit(name);
        Ok(())
    }

    /// Appends a line that this program wrote itself. A value that could not be
    /// written (which only a bug can bring here) is left out.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let pushed = self.push(name, value.as_ref());
        debug_assert!(pushed.is_ok(), "own field {name} refused: {pushed:?}");
    }

    /// Appends a line whose value `write` writes, which is to write what may stand in one.
    /// Returns the value.
    pub fn add_with(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        debug_assert!(is_token(name.as_bytes()), "own field {name}");
        self.unpack();
        let name_at = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        let value_at = self.bytes.len();
        write(&mut self.bytes);
        let value_len = self.bytes.len() - value_at;
        debug_assert!(!self.bytes[value_at..].iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
        self.bytes.extend_from_slice(b"\r\n");
        // What is written here is short, and comes before anything could be large.
        let line = Line { name_at: name_at as u32, name_len: name.len() as u32, value_len: value_len as u32 };
        self.lines.push(line);
        self.names |= bit(name.as_bytes());
        &self.bytes[line.value()]
    }

    /// Appends a line with a number.
    pub fn add_number(&mut self, name: &'static str, number: u64) {
        self.add_with(name, |value| write_number(number, value));
    }

    /// Replaces every line of this name with one.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.add(name, value);
    }

    /// Drops every line of this name.
    pub fn remove(&mut self, name: &str) {
        if self.names & bit(name.as_bytes()) == 0 {
            return;
        }
        self.retain(|n, _| !n.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// Keeps the lines for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        self.unpack();
        let bytes = &self.bytes;
        self.lines.retain(|line| keep(&bytes[line.name()], &bytes[line.value()]));
    }

    /// A copy of the lines whose names `keep` holds for, with room for a few more.
    pub fn only(&self, keep: impl Fn(&[u8]) -> bool) -> Fields {
        let mut fields = Fields::with_capacity(self.len() + 8, self.bytes.len() + 256);
        fields.extend_from(self, keep);
        fields
    }

    /// Appends those lines of others whose names `keep` holds for, as they stand there.
    pub fn extend_from(&mut self, others: &Fields, keep: impl Fn(&[u8]) -> bool) {
        self.unpack();
        for line in others.lines().filter(|line| keep(&others.bytes[line.name()])) {
            self.lines.push(Line { name_at: self.bytes.len() as u32, ..line });
            self.bytes.extend_from_slice(&others.bytes[line.whole()]);
            self.names |= bit(&others.bytes[line.name()]);
        }
    }

    /// The value of the first line of this name.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        if self.names & bit(name.as_bytes()) == 0 {
            return None;
        }
        self.find(name)
    }

    fn find(&self, name: &str) -> Option<&[u8]> {
        let is_meant = |line: &Line| {
            line.name_len as usize == name.len()
                && self.bytes[line.name()].eq_ignore_ascii_case(name.as_bytes())
        };
        let line = self.lines().find(is_meant)?;
        Some(&self.bytes[line.value()])
    }

    /// The value of the first line of this name, when it is text in ASCII.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok()).filter(|text| text.is_ascii())
    }

    /// The values of all lines of this name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        let count = if self.names & bit(name.as_bytes()) == 0 { 0 } else { self.len() };
        self.first_lines(count)
            .filter(move |line| line.name_len as usize == name.len())
            .filter(move |line| self.bytes[line.name()].eq_ignore_ascii_case(name.as_bytes()))
            .map(|line| &self.bytes[line.value()])
    }

    /// The members of a comma-separated list field, over all of its lines;
    /// commas within quoted strings do not separate, empty members are left out
    /// (RFC 9110 5.6.1).
    pub fn members<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        self.get_all(name).flat_map(members_of)
    }

    /// Whether there is a line of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All lines as name and value, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> + Clone {
        self.lines().map(|line| (name_of(&self.bytes, line), &self.bytes[line.value()]))
    }

    /// All lines as name and the place of the value within [`Fields::bytes`],
    /// for whoever wants to share the buffer instead of copying each value.
    pub fn places(&self) -> impl ExactSizeIterator<Item = (&str, Range<usize>)> {
        self.lines().map(|line| (name_of(&self.bytes, line), line.value()))
    }

    /// The buffer that [`Fields::places`] points into. That of a compacted head is all
    /// of its lines as they are written, each with its line end, and nothing else.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - self.packed as usize * PACKED]
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.lines.len() + self.packed as usize
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lines(&self) -> impl ExactSizeIterator<Item = Line> + Clone {
        self.first_lines(self.len())
    }

    fn first_lines(&self, count: usize) -> impl ExactSizeIterator<Item = Line> + Clone {
        let table = &self.bytes[self.bytes.len() - self.packed as usize * PACKED..];
        // One of the two is empty.
        (0..count).map(move |at| match self.lines.get(at) {
            Some(line) => *line,
            None => Line::unpack(&table[at * PACKED..]),
        })
    }

    /// The form that can be changed.
    fn unpack(&mut self) {
        if self.packed > 0 {
            self.lines = self.lines().collect();
            let text = self.bytes().len();
            self.bytes.truncate(text);
            self.packed = 0;
        }
    }

    /// Bytes that the live lines take when written.
    pub fn written_len(&self) -> usize {
        self.lines().map(|line| line.whole().len()).sum()
    }

    /// Appends all lines, each with its CRLF.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.packed > 0 || self.written_len() == self.bytes.len() {
            // Nothing has been removed: the buffer is what is to be written.
            out.extend_from_slice(self.bytes());
            return;
        }
        for line in &self.lines {
            out.extend_from_slice(&self.bytes[line.whole()]);
        }
    }

    /// Heap bytes held, for the store's budget.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.lines.capacity() * size_of::<Line>()
    }

    /// Gives back what removed lines and spare capacity hold.
    pub fn compact(&mut self) {
        let (count, written) = (self.len(), self.written_len());
        let packs = written <= usize::from(u16::MAX) && self.lines().all(|line| line.name_len < 256);
        let (in_table, behind) = if packs { (0, count * PACKED) } else { (count, 0) };
        let mut compact = Fields::with_capacity(in_table, written + behind);
        let mut table = Vec::with_capacity(behind);
        for line in self.lines() {
            let line_now = Line { name_at: compact.bytes.len() as u32, ..line };
            compact.bytes.extend_from_slice(&self.bytes[line.whole()]);
            compact.names |= bit(&self.bytes[line.name()]);
            if packs {
                table.extend_from_slice(&line_now.pack());
            } else {
                compact.lines.push(line_now);
            }
        }
        if packs {
            compact.bytes.extend_from_slice(&table);
            compact.packed = count as u32;
        }
        *self = compact;
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))))
            .finish()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    /// For rows of tests and fixed heads; a line that cannot be written is left out.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Self {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.add(name.as_ref(), value);
        }
        fields
    }
}

/// Which bit of [`Fields::names`] stands for this name, in whatever case.
#[inline]
fn bit(name: &[u8]) -> u32 {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    let mixed = u32::from(first | 0x20) * 5 + u32::from(last | 0x20) * 3 + name.len() as u32;
    1 << (mixed % 32)
}

/// A number: digits alone, without a sign, and not more than can be counted (as RFC 9110 8.6
/// wants of a length).
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(digit.into()) }
    })
}

/// Writes a number in digits.
pub fn write_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut rest = number;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn name_of(bytes: &[u8], line: Line) -> &str {
    // Names are tokens, checked by `push`, and tokens are ASCII.
    std::str::from_utf8(&bytes[line.name()]).unwrap_or_default()
}

/// Without the white space around it; a CR is none (RFC 9110 5.6.3).
fn trim(value: &[u8]) -> &[u8] {
    let is_other = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let Some(start) = value.iter().position(is_other) else { return &[] };
    let end = value.iter().rposition(is_other).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// Whether these bytes are a token (RFC 9110 5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| LOWER[usize::from(b)] != 0)
}

/// Of every byte that may stand in a token its lower case, of others zero.
static LOWER: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if is_token_byte(byte as u8) {
            table[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// Whether this byte may stand in a token (RFC 9110 5.6.2).
pub const fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// The members of one list-valued line: split at commas outside quoted strings,
/// trimmed, empty ones left out (RFC 9110 5.6.1.2).
pub fn members_of(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let end = member_end(text);
            rest = text.get(end + 1..);
            let member = text[..end].trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

/// Where the first member ends: at the first comma outside a quoted string.
fn member_end(text: &[u8]) -> usize {
    let mut quoted = false;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            b',' if !quoted => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_line_gives_its_bytes_back_when_compacted() {
        let mut fields: Fields =
            [("Host", "a"), ("X-Long", "bbbbbbbb"), ("Accept", " c ")].into_iter().collect();
        fields.remove("x-long");
        fields.compact();
        assert_eq!(fields.bytes(), b"host: a\r\naccept: c\r\n");
        assert_eq!(fields.get("ACCEPT"), Some(&b"c"[..]));
        assert_eq!(
            fields.heap_bytes(),
            fields.bytes().len() + 2 * PACKED,
            "one allocation of just this size"
        );
    }

    #[test]
    fn a_compacted_head_is_the_same_head_and_can_be_changed() {
        let long = "v".repeat(70_000);
        for value in ["b", "", &long] {
            let plain: Fields = [("x", "1"), ("long", value), ("x", "2")].into_iter().collect();
            let mut compact = plain.clone();
            compact.compact();
            assert_eq!((compact.len(), compact.written_len()), (3, plain.written_len()));
            assert_eq!(compact, plain);
            assert_eq!(compact.bytes(), plain.bytes());
            assert_eq!(compact.get_all("X").collect::<Vec<_>>(), [b"1", b"2"]);
            assert_eq!(compact.places().map(|(_, place)| place).next(), Some(3..4));
            compact.compact();
            assert_eq!(compact, plain);
            compact.remove("long");
            compact.add("y", "3");
            let changed: Fields = [("x", "1"), ("x", "2"), ("y", "3")].into_iter().collect();
            assert_eq!(compact, changed);
            compact.compact();
            assert_eq!(compact.bytes(), b"x: 1\r\nx: 2\r\ny: 3\r\n");
        }
    }

    #[test]
    fn what_could_not_be_written_is_refused() {
        let mut fields = Fields::new();
        assert_eq!(fields.push("a b", b"x"), Err(BadField::Name));
        assert_eq!(fields.push("", b"x"), Err(BadField::Name));
        assert_eq!(fields.push("a", b"x\r\ny: z"), Err(BadField::Value));
        assert_eq!(fields.push("a", b"x\r"), Err(BadField::Value));
        assert!(fields.is_empty());
    }

    #[test]
    fn a_number_is_written_in_digits() {
        let mut fields = Fields::new();
        for number in [0, 7, 10, 65_535, u64::MAX] {
            fields.add_number("n", number);
        }
        assert_eq!(fields.bytes(), b"n: 0\r\nn: 7\r\nn: 10\r\nn: 65535\r\nn: 18446744073709551615\r\n");
    }

    #[test]
    fn commas_in_quotes_do_not_separate_members() {
        let list: Vec<&[u8]> = members_of(br#" a, "b, \", c" ,,d "#).collect();
        assert_eq!(list, [&b"a"[..], br#""b, \", c""#, b"d"]);
    }
}
