//! The names that a response gives itself to be invalidated by: tags, in one of
//! many fields by as many conventions, and cache groups.

use super::site::Rules;
use crate::rfc::fields::Fields;
use crate::rfc::groups;
use crate::stored::Names;

/// The most bytes of names of one response. More are not cut off, since a purge
/// would then miss what it means; such a response is not stored.
pub const MOST_BYTES: usize = 64 * 1024;

/// The names of a response; `None` when there are too many.
///
/// Tags are separated by white space or commas, whatever the field: no convention
/// has either inside a tag.
pub fn names(fields: &Fields, rules: &Rules) -> Option<Names> {
    let mut names = Names::default();
    for field in rules.tag_fields.iter() {
        for line in fields.get_all(field) {
            line.split(|byte| byte.is_ascii_whitespace() || *byte == b',').for_each(|tag| names.add_tag(tag));
        }
    }
    groups::groups(fields).iter().for_each(|group| names.add_group(group.as_bytes()));
    names.compact();
    (names.len() <= MOST_BYTES).then_some(names)
}

/// Takes the tags from a response on its way to a client.
pub fn strip(fields: &mut Fields, rules: &Rules) {
    if rules.strip_tags {
        for field in rules.tag_fields.iter() {
            fields.remove(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_convention_is_read() {
        let fields: Fields = [
            ("surrogate-key", "a b"),
            ("xkey", "c"),
            ("xkey", "d"),
            ("cache-tag", "e, f,g"),
            ("x-cache-tags", "h,,i"),
            ("cache-groups", "\"one\", \"two words\""),
            ("x-other", "z"),
        ]
        .into_iter()
        .collect();
        let names = names(&fields, &Rules::default()).expect("few names");
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        assert_eq!(names.tags().map(text).collect::<Vec<_>>().concat(), "abcdefghi");
        assert_eq!(names.groups().map(text).collect::<Vec<_>>(), ["one", "two words"]);
    }

    #[test]
    fn too_many_are_not_cut_off() {
        let tags = |count: usize| -> Fields {
            [("surrogate-key", vec!["1234567"; count].join(" ").as_str())].into_iter().collect()
        };
        assert!(names(&tags(7_000), &Rules::default()).is_some());
        assert!(names(&tags(8_000), &Rules::default()).is_none());
    }
}
