//! Whether a response may be stored, and the head that it is stored with
//! (RFC 9111 section 3).

use std::sync::Arc;

use http::{Method, StatusCode};

use super::normalise::Presented;
use super::site::{HonourRequest, Mode, Rules, SetCookie};
use super::tags;
use crate::clock::Wall;
use crate::rfc::cache_control::ResponseDirectives;
use crate::rfc::fields::Fields;
use crate::rfc::lifetime::{Heuristic, lifetime};
use crate::rfc::storable::{Exchanged, NotStorable, fields_not_to_store, storable};
use crate::rfc::vary::{self, SecondaryKey, VaryNames};
use crate::rfc::{age, date, reuse, surrogate, targeted};
use crate::stored::{Head, Names};

/// When an exchange took place, by wall time and by invalidations.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// When the request was sent.
    pub requested: Wall,
    /// When the head arrived.
    pub received: Wall,
    /// The last invalidation before the request was sent.
    pub sequence: u64,
}

/// The verdict over a response.
#[derive(Debug)]
pub enum Admission {
    /// It may be stored.
    Store {
        /// With this head.
        head: Head,
        /// Fields that only the client whose request it answers may see: named
        /// by `no-cache` or `private` (RFC 9111 5.2.2.4, 5.2.2.7).
        withheld: Fields,
    },
    /// It may not.
    Refuse {
        /// Its fields, as they came.
        fields: Fields,
        /// Why.
        why: NotAdmitted,
    },
}

/// Why a response may not be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAdmitted {
    /// The standard forbids it.
    Standard(NotStorable),
    /// `Set-Cookie`, and the route does not store such responses.
    SetCookie,
    /// The route does not cache.
    Rule,
    /// It would be stale at once, could not be validated, and may not be used
    /// when stale.
    Useless,
    /// It is a failure of the origin, and something that may be served is stored.
    Outdone,
    /// It has more tags than can be kept, and a purge could miss it.
    TooManyTags,
    /// It is a part that cannot be combined with others: it has no strong validator, does not
    /// say where it belongs, or contradicts itself.
    Uncombinable,
}

impl NotAdmitted {
    /// Word for `Cache-Status`'s `detail` and for logs.
    pub fn reason(self) -> &'static str {
        match self {
            NotAdmitted::Standard(why) => why.reason(),
            NotAdmitted::SetCookie => "set-cookie",
            NotAdmitted::Rule => "rule",
            NotAdmitted::Useless => "no-use",
            NotAdmitted::Outdone => "error",
            NotAdmitted::TooManyTags => "tags",
            NotAdmitted::Uncombinable => "partial",
        }
    }

    /// Whether it is only this request that makes the response unusable for others.
    pub fn only_this_request(self) -> bool {
        match self {
            NotAdmitted::Standard(why) => why.only_this_request(),
            NotAdmitted::Outdone => true,
            NotAdmitted::SetCookie
            | NotAdmitted::Rule
            | NotAdmitted::Useless
            | NotAdmitted::TooManyTags
            | NotAdmitted::Uncombinable => false,
        }
    }
}

/// Judges a response without hop-by-hop fields.
pub fn admit(
    request: &Presented,
    status: StatusCode,
    fields: Fields,
    moments: Moments,
    rules: &Rules,
) -> Admission {
    let said = Said::read(&fields, rules);
    let directives = &said.directives;
    if let Err(why) = may_store(request, status, said.fields(&fields), directives, rules) {
        return Admission::Refuse { fields, why };
    }
    let VaryNames::Names(names) = varies_on(&fields) else {
        return Admission::Refuse { fields, why: NotAdmitted::Standard(NotStorable::VaryStar) };
    };
    let Some(tags) = tags::names(&fields, rules) else {
        return Admission::Refuse { fields, why: NotAdmitted::TooManyTags };
    };
    let (fields, withheld) = cleaned(fields, directives, moments.received);
    let head = head(request, status, fields, &names, tags, &said, moments, rules);
    if !super::decide::is_worth_storing(&head, rules, moments.received) {
        let mut fields = head.fields;
        for (name, value) in withheld.iter() {
            fields.add(name, value);
        }
        return Admission::Refuse { fields, why: NotAdmitted::Useless };
    }
    Admission::Store { head, withheld }
}

/// What a `304` or a `HEAD` has made of a stored response.
#[derive(Debug)]
pub struct Readmission {
    /// Its head from now on.
    pub head: Head,
    /// Whether it may be stored so, or why not.
    pub kept: Result<(), NotAdmitted>,
}

/// Judges a stored response whose fields have been freshened (RFC 9111 4.3.4).
pub fn readmit(
    request: &Presented,
    old: &Head,
    fields: Fields,
    moments: Moments,
    rules: &Rules,
) -> Readmission {
    let said = Said::read(&fields, rules);
    let mut kept = may_store(request, old.status, said.fields(&fields), &said.directives, rules);
    let names = match varies_on(&fields) {
        VaryNames::Names(names) => names,
        VaryNames::Star => {
            kept = kept.and(Err(NotAdmitted::Standard(NotStorable::VaryStar)));
            Vec::new()
        }
    };
    let tags = tags::names(&fields, rules).unwrap_or_else(|| {
        kept = kept.and(Err(NotAdmitted::TooManyTags));
        Names::default()
    });
    let (fields, _) = cleaned(fields, &said.directives, moments.received);
    let head = head(request, old.status, fields, &names, tags, &said, moments, rules);
    Readmission { head, kept }
}

/// What the response varies on. The origin is told the addresses on the way and the
/// request's id by this node, and no request that arrives can be compared with that.
fn varies_on(fields: &Fields) -> VaryNames {
    match vary::names(fields) {
        VaryNames::Names(names)
            if names.iter().any(|name| {
                matches!(name.as_str(), "x-forwarded-for" | "forwarded" | "via" | "cdn-loop" | "x-request-id")
            }) =>
        {
            VaryNames::Star
        }
        names => names,
    }
}

/// What the response says of its own storing and freshness.
struct Said {
    directives: ResponseDirectives,
    /// The fields that it is read from, where they are not the response's own.
    instead: Option<Fields>,
}

impl Said {
    fn read(fields: &Fields, rules: &Rules) -> Said {
        // `Surrogate-Control` is older and no standard: the standard's fields come first.
        let instead = targeted::governing(fields, &rules.targeted_fields.0)
            .or_else(|| rules.surrogate_control.then(|| surrogate::governing(fields)).flatten());
        Said { directives: ResponseDirectives::read(instead.as_ref().unwrap_or(fields)), instead }
    }

    fn fields<'a>(&'a self, own: &'a Fields) -> &'a Fields {
        self.instead.as_ref().unwrap_or(own)
    }
}

/// The field that says how long a response is fresh in place of its `Cache-Control` and
/// `Expires` (RFC 9213), if one does.
pub fn spoken_by<'a>(fields: &Fields, rules: &'a Rules) -> Option<&'a str> {
    targeted::which(fields, &rules.targeted_fields.0).or_else(|| {
        (rules.surrogate_control && surrogate::governing(fields).is_some()).then_some("surrogate-control")
    })
}

fn may_store(
    request: &Presented,
    status: StatusCode,
    fields: &Fields,
    directives: &ResponseDirectives,
    rules: &Rules,
) -> Result<(), NotAdmitted> {
    if !rules.cache {
        return Err(NotAdmitted::Rule);
    }
    let exchanged = Exchanged {
        // A response to HEAD is only ever asked about to freshen one to GET.
        method: if request.method == Method::HEAD { &Method::GET } else { &request.method },
        request: &request.fields,
        status,
        response: fields,
        directives,
        honour_request_no_store: rules.request_directives == HonourRequest::All,
    };
    storable(&exchanged).map_err(NotAdmitted::Standard)?;
    // A cookie that the response itself keeps from others is no reason.
    let withheld = fields_not_to_store(directives).any(|name| name.eq_ignore_ascii_case("set-cookie"));
    if rules.set_cookie == SetCookie::Pass && fields.contains("set-cookie") && !withheld {
        return Err(NotAdmitted::SetCookie);
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "each is a different part of the head, and it is called twice")]
fn head(
    request: &Presented,
    status: StatusCode,
    mut fields: Fields,
    varies_on: &[String],
    names: Names,
    said: &Said,
    moments: Moments,
    rules: &Rules,
) -> Head {
    let heuristic =
        Heuristic { percent: rules.heuristic_percent, max_seconds: rules.heuristic_max.as_secs() };
    let directives = &said.directives;
    let lifetime = lifetime(status, said.fields(&fields), directives, &heuristic, moments.received);
    let initial_age = age::initial_age(&fields, moments.requested, moments.received);
    let initial_age = u32::try_from(initial_age).unwrap_or(u32::MAX);
    fields.remove("age");
    fields.compact();
    Head {
        status,
        secondary: SecondaryKey::of(varies_on, &request.fields, rules.sort_accept_language),
        requested: moments.requested,
        received: moments.received,
        initial_age,
        lifetime,
        terms: reuse::stale_terms(directives),
        always_validate: reuse::always_validate(directives),
        sequence: moments.sequence,
        names,
        site: Arc::clone(&rules.site),
        hidden: rules.mode == Mode::Hidden,
        fields,
    }
}

/// The fields that may be stored, and those that only the first client sees.
fn cleaned(mut fields: Fields, directives: &ResponseDirectives, received: Wall) -> (Fields, Fields) {
    let mut withheld = Fields::new();
    for name in fields_not_to_store(directives) {
        let name = name.to_ascii_lowercase();
        // This node says them itself, to whomever.
        if matches!(name.as_str(), "content-length" | "date" | "age" | "x-request-id") {
            continue;
        }
        for value in fields.get_all(&name) {
            withheld.add(&name, value);
        }
        fields.remove(&name);
    }
    // The length is known from the body, the id is that of one request, and a Date is
    // owed (RFC 9110 6.6.1).
    fields.remove("content-length");
    fields.remove("x-request-id");
    if !fields.contains("date") {
        fields.add("date", date::format(received));
    }
    (fields, withheld)
}
