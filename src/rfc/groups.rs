//! Cache groups (RFC 9875).

use super::fields::Fields;

/// The groups that `Cache-Groups` puts the response into (section 2).
pub fn groups(fields: &Fields) -> Vec<String> {
    list(fields, "cache-groups")
}

/// The groups that `Cache-Group-Invalidation` invalidates on the origin of the
/// target (section 3). It only counts on answers to unsafe methods, which the
/// caller knows.
pub fn invalidated(fields: &Fields) -> Vec<String> {
    list(fields, "cache-group-invalidation")
}

/// The Strings of a List; parameters mean nothing, and a field that is no List of
/// Strings is ignored as a whole (RFC 9651 section 4.2).
fn list(fields: &Fields, name: &str) -> Vec<String> {
    if !fields.contains(name) {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = fields.get_all(name).collect();
    let Ok(members) = sfv::Parser::new(&lines.join(&b", "[..])).parse::<sfv::List>() else {
        return Vec::new();
    };
    let strings = members.into_iter().map(|member| match member {
        sfv::ListEntry::Item(item) => item.bare_item.as_string().map(|text| text.as_str().to_owned()),
        sfv::ListEntry::InnerList(_) => None,
    });
    strings.collect::<Option<Vec<String>>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_strings_and_nothing_else() {
        for (value, wanted) in [
            ("\"a\"", vec!["a"]),
            ("\"a\", \"b c\";x=1 , \"\\\"\"", vec!["a", "b c", "\""]),
            ("a", vec![]),
            ("\"a\", 1", vec![]),
            ("(\"a\")", vec![]),
            ("\"a", vec![]),
            ("", vec![]),
        ] {
            let fields: Fields = [("cache-groups", value)].into_iter().collect();
            assert_eq!(groups(&fields), wanted, "{value}");
        }
        let two: Fields = [("cache-groups", "\"a\""), ("cache-groups", "\"b\"")].into_iter().collect();
        assert_eq!(groups(&two), ["a", "b"]);
    }

    /// Sections 2 and 3: at least so many, and so long.
    #[test]
    fn there_may_be_many_and_their_names_long() {
        let wanted: Vec<String> = (0..64).map(|n| format!("{n:064}")).collect();
        let value = wanted.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        for (name, read) in
            [("cache-groups", groups as fn(&Fields) -> _), ("cache-group-invalidation", invalidated)]
        {
            let fields: Fields = [(name, value.as_str())].into_iter().collect();
            assert_eq!(read(&fields), wanted, "{name}");
        }
    }
}
