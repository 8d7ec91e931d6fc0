//! The names that a response can be invalidated by, its URL aside: tags (surrogate
//! keys) and cache groups (RFC 9875).

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::body::allocated;
use super::key::SEED;

/// The first byte of a tag, as names are kept.
const TAG: u8 = b't';
/// The first byte of a group.
const GROUP: u8 = b'g';
/// Stands between names, and between the parts of a name; no field value has it.
const END: u8 = b'\n';

/// The names of a response. Most have none, and hold a word for them.
///
/// What always holds: each name is a kind and a text without line ends, and none
/// is empty.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Names {
    /// Kind, text and end of each.
    #[expect(clippy::box_collection, reason = "most have none, and a word for it")]
    joined: Option<Box<Vec<u8>>>,
}

/// A name or anything else that an invalidation goes by exactly, as a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NameHash(pub u128);

impl Names {
    /// Adds a tag.
    pub fn add_tag(&mut self, tag: &[u8]) {
        self.add(TAG, tag);
    }

    /// Adds a group.
    pub fn add_group(&mut self, group: &[u8]) {
        self.add(GROUP, group);
    }

    fn add(&mut self, kind: u8, text: &[u8]) {
        if text.is_empty() || text.contains(&END) {
            return;
        }
        let joined = self.joined.get_or_insert_default();
        joined.push(kind);
        joined.extend_from_slice(text);
        joined.push(END);
    }

    /// Gives back what was allocated too much.
    pub fn compact(&mut self) {
        if let Some(joined) = &mut self.joined {
            joined.shrink_to_fit();
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.joined.is_none()
    }

    /// Bytes of all names together.
    pub fn len(&self) -> usize {
        self.joined().len()
    }

    /// The tags, in order.
    pub fn tags(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().filter_map(|name| name.strip_prefix(&[TAG]))
    }

    /// The groups, in order.
    pub fn groups(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().filter_map(|name| name.strip_prefix(&[GROUP]))
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        // The last end has nothing behind it.
        self.joined().split(|&byte| byte == END).filter(|name| !name.is_empty())
    }

    fn joined(&self) -> &[u8] {
        self.joined.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The names as the index has them: groups belong to their origin (RFC 9875
    /// section 2), tags are everybody's.
    pub fn indexed<'a>(&'a self, authority: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
        self.iter().map(move |name| match name.strip_prefix(&[GROUP]) {
            Some(group) => Names::group(authority, group),
            None => name.to_vec(),
        })
    }

    /// The name of a tag in the index.
    pub fn tag(tag: &str) -> Vec<u8> {
        [&[TAG], tag.as_bytes()].concat()
    }

    /// The name of an origin's group in the index.
    pub fn group(authority: &str, group: &[u8]) -> Vec<u8> {
        [&[GROUP], authority.as_bytes(), &[END], group].concat()
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.joined
            .as_ref()
            .map_or(0, |joined| allocated(size_of::<Vec<u8>>()) + allocated(joined.capacity()))
    }
}

impl NameHash {
    /// Everything.
    pub const ALL: NameHash = NameHash(0);

    /// All of a site.
    pub fn site(site: &str) -> NameHash {
        Self::of(b's', &[site.as_bytes()])
    }

    /// All of a host, on one port or on every one.
    pub fn host(host: &str, port: Option<u16>) -> NameHash {
        match port {
            None => Self::of(b'h', &[host.as_bytes()]),
            Some(port) => Self::of(b'p', &[host.as_bytes(), &port.to_be_bytes()]),
        }
    }

    /// A name of the index, on one site or on every one.
    pub fn name(indexed: &[u8], site: Option<&str>) -> NameHash {
        match site {
            None => Self::of(b'n', &[indexed]),
            Some(site) => Self::of(b'o', &[indexed, site.as_bytes()]),
        }
    }

    fn of(kind: u8, parts: &[&[u8]]) -> NameHash {
        let mut text = vec![kind];
        for part in parts {
            text.push(END);
            text.extend_from_slice(part);
        }
        NameHash(xxh3_128_with_seed(&text, *SEED))
    }
}
