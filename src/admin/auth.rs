//! Who may call, and for what.
//!
//! A caller shows a token, or comes from an address that needs none. A token is
//! known by its SHA-256 alone; it has a name for the records, scopes, and may be
//! limited to sites.
//!
//! What always holds: every token that is known is compared, in constant time, so
//! that nobody learns from the time how much was right; whoever shows wrong ones
//! is soon not looked at any more, right or wrong; a file of tokens that has faults
//! changes nothing.
//!
//! What it never does: keep, log or show a token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::clock::{Clock, Wall};
use crate::observe::counters::Counters;
use crate::stored::Selector;

/// Failures of one address within a [`WINDOW`] after which it is not looked at.
const MOST_FAILURES: u32 = 10;
/// For so long failures count.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose failures are remembered.
const MOST_ADDRESSES: usize = 4096;
/// How often the file of tokens is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a caller may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// Purge URLs and prefixes.
    PurgeUrl,
    /// Purge tags and groups.
    PurgeTag,
    /// Purge hosts, sites, by ban, and everything.
    PurgeAll,
    /// Put responses into the cache.
    Fill,
    /// Reload, and whatever else changes how the node runs.
    Operate,
    /// Look.
    Read,
}

/// All scopes and how they are written.
const SCOPES: [(&str, Scope); 6] = [
    ("purge-url", Scope::PurgeUrl),
    ("purge-tag", Scope::PurgeTag),
    ("purge-all", Scope::PurgeAll),
    ("fill", Scope::Fill),
    ("operate", Scope::Operate),
    ("read", Scope::Read),
];

impl Scope {
    /// As it is written.
    pub fn name(self) -> &'static str {
        SCOPES.iter().find(|(_, scope)| *scope == self).map_or("", |(name, _)| name)
    }

    /// The scope that is written so.
    pub fn from_name(name: &str) -> Option<Scope> {
        SCOPES.iter().find(|(written, _)| *written == name).map(|(_, scope)| *scope)
    }

    /// How all of them are written.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SCOPES.iter().map(|(name, _)| *name)
    }
}

/// What a caller shows.
#[derive(Clone, Copy, Default, Debug)]
pub struct Shown<'a> {
    /// The value of `Authorization`: `Bearer TOKEN`, or `Basic` with the token as
    /// the password.
    pub authorization: Option<&'a [u8]>,
    /// The value of the field that `admin.secret_header` names.
    pub secret: Option<&'a [u8]>,
}

/// A caller who is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// For the records.
    pub name: Arc<str>,
    scopes: Arc<[Scope]>,
    sites: Option<Arc<[String]>>,
    /// Whether it has shown a token, which no page in a browser can.
    pub by_token: bool,
}

/// Why a caller may not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// It shows nothing.
    #[error("this port needs a token")]
    NoCredentials,
    /// It shows nothing that is known.
    #[error("the token is not known")]
    BadCredentials,
    /// Its token is not for this.
    #[error("the token `{name}` has no scope `{}`", scope.name())]
    Scope {
        /// The token's name.
        name: Arc<str>,
        /// What it would need.
        scope: Scope,
    },
    /// Its token is not for this site.
    #[error("the token `{name}` is for {sites} alone")]
    Site {
        /// The token's name.
        name: Arc<str>,
        /// Its sites.
        sites: String,
    },
    /// Too much was wrong that came from its address.
    #[error("too many wrong tokens from this address")]
    TooManyFailures {
        /// When it is looked at again.
        retry_after: Duration,
    },
}

/// A token, by what is kept of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    digest: [u8; 32],
    caller: Caller,
}

/// Who may call a port.
pub struct Auth {
    /// The token of the configuration.
    own: Option<Token>,
    file: Option<Mutex<Tokens>>,
    /// Whoever calls from here needs no token.
    allow: Vec<IpNet>,
    allowed: Caller,
    /// Without a token, a file and an address list whoever reaches the port may.
    open: bool,
    failures: Mutex<HashMap<IpAddr, Failures>>,
    clock: Clock,
    counters: Arc<Counters>,
}

/// The tokens of a file, as it was when it was read last.
struct Tokens {
    path: PathBuf,
    looked: Wall,
    stamp: Option<(SystemTime, u64)>,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    since: Wall,
}

impl Caller {
    /// Somebody who may do all of this, on every site.
    pub fn new(name: &str, scopes: &[Scope]) -> Self {
        Caller { name: name.into(), scopes: scopes.into(), sites: None, by_token: false }
    }

    /// Somebody who may do everything.
    pub fn everything(name: &str) -> Self {
        Caller::new(name, &SCOPES.map(|(_, scope)| scope))
    }

    /// Whether it has this scope.
    pub fn may(&self, scope: Scope) -> Result<(), Denied> {
        if self.scopes.contains(&scope) {
            Ok(())
        } else {
            Err(Denied::Scope { name: Arc::clone(&self.name), scope })
        }
    }

    /// Whether it may do anything on the site of this name.
    pub fn may_on(&self, site: &str) -> bool {
        self.sites.as_ref().is_none_or(|sites| sites.iter().any(|name| **name == *site))
    }

    /// Whether it may purge all of this. Tags that it names mean its own sites, if it
    /// is limited to some. `site_of` tells which site answers for a host.
    pub fn may_purge(
        &self,
        what: Vec<Selector>,
        site_of: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<Selector>, Denied> {
        let mut allowed = Vec::with_capacity(what.len());
        for selector in what {
            self.may(match &selector {
                Selector::Url { .. } | Selector::Path { .. } | Selector::Prefix { .. } => Scope::PurgeUrl,
                Selector::Tag { .. } | Selector::Group { .. } => Scope::PurgeTag,
                Selector::Host { .. } | Selector::Site { .. } | Selector::Ban { .. } | Selector::All => {
                    Scope::PurgeAll
                }
            })?;
            let Some(sites) = &self.sites else {
                allowed.push(selector);
                continue;
            };
            let other_site = || Denied::Site { name: Arc::clone(&self.name), sites: sites.join(", ") };
            let is_own = |site: &str| sites.iter().any(|own| own == site);
            match selector {
                Selector::Tag { tag, site: None } => allowed.extend(
                    sites.iter().map(|site| Selector::Tag { tag: tag.clone(), site: Some(site.clone()) }),
                ),
                Selector::Tag { site: Some(ref site), .. } | Selector::Site { ref site } if is_own(site) => {
                    allowed.push(selector);
                }
                Selector::Url { ref host, .. }
                | Selector::Host { ref host, .. }
                | Selector::Prefix { host: Some(ref host), .. }
                    if site_of(host).is_some_and(|site| is_own(&site)) =>
                {
                    allowed.push(selector);
                }
                _ => return Err(other_site()),
            }
        }
        Ok(allowed)
    }
}

impl Auth {
    /// For a port with these settings. A file of tokens that is no good is refused.
    pub fn new(
        settings: &super::Settings,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Result<Auth, Vec<String>> {
        let own = settings.token.as_ref().map(|token| Token {
            digest: digest(token.as_bytes()),
            caller: Caller { by_token: true, ..Caller::everything("admin.token") },
        });
        let file = settings.tokens.as_deref().map(Tokens::read).transpose()?.map(Mutex::new);
        Ok(Auth {
            open: own.is_none() && file.is_none() && settings.allow.is_empty(),
            own,
            file,
            allow: settings.allow.clone(),
            allowed: Caller::new("admin.allow", &settings.allow_scopes),
            failures: Mutex::default(),
            clock,
            counters,
        })
    }

    /// Who calls from `peer` and shows this.
    pub fn caller(&self, peer: IpAddr, shown: Shown<'_>) -> Result<Caller, Denied> {
        if self.open {
            return Ok(Caller::everything("operator"));
        }
        let now = self.clock.now();
        let network = network_of(peer);
        if let Some(retry_after) = self.shut_out(network, now) {
            self.counters.auth_limited.up();
            return Err(Denied::TooManyFailures { retry_after });
        }
        let presented: Vec<Vec<u8>> = presented(shown).collect();
        for token in &presented {
            if let Some(caller) = self.known(token, now) {
                return Ok(caller);
            }
        }
        if self.allow.iter().any(|network| network.contains(&peer.to_canonical())) {
            return Ok(self.allowed.clone());
        }
        if presented.is_empty() {
            return Err(Denied::NoCredentials);
        }
        self.counters.auth_failures.up();
        tracing::warn!(target: "forebay::admin", %peer, "a wrong token was shown");
        self.note_failure(network, now);
        Err(Denied::BadCredentials)
    }

    /// The caller whose token this is.
    fn known(&self, token: &[u8], now: Wall) -> Option<Caller> {
        let digest = digest(token);
        let mut found = None;
        let mut compare = |known: &Token| {
            let same: Choice = known.digest[..].ct_eq(&digest[..]);
            if bool::from(same) {
                found = Some(known.caller.clone());
            }
        };
        self.own.iter().for_each(&mut compare);
        if let Some(file) = &self.file {
            let mut file = file.lock();
            file.look_again(now, &self.counters);
            file.tokens.iter().for_each(&mut compare);
        }
        found
    }

    fn shut_out(&self, network: IpAddr, now: Wall) -> Option<Duration> {
        let failures = self.failures.lock();
        let failed = failures.get(&network).filter(|failed| failed.count >= MOST_FAILURES)?;
        let passed = now.since(failed.since);
        (passed < WINDOW).then(|| WINDOW.saturating_sub(passed))
    }

    fn note_failure(&self, network: IpAddr, now: Wall) {
        let mut failures = self.failures.lock();
        if failures.len() >= MOST_ADDRESSES && !failures.contains_key(&network) {
            failures.retain(|_, failed| now.since(failed.since) < WINDOW);
            if failures.len() >= MOST_ADDRESSES
                && let Some(oldest) =
                    failures.iter().min_by_key(|(_, failed)| failed.since).map(|(ip, _)| *ip)
            {
                failures.remove(&oldest);
                self.counters.auth_forgotten.up();
            }
        }
        let failed = failures.entry(network).or_insert(Failures { count: 0, since: now });
        if now.since(failed.since) >= WINDOW {
            *failed = Failures { count: 0, since: now };
        }
        failed.count += 1;
    }
}

impl Tokens {
    fn read(path: &Path) -> Result<Tokens, Vec<String>> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![format!("{name} cannot be read: {error}. Check `admin.tokens`.")])?;
        let tokens = parse(&text).map_err(|faults| {
            faults.into_iter().map(|fault| format!("{name}: {fault}")).collect::<Vec<_>>()
        })?;
        Ok(Tokens { path: path.to_owned(), looked: Wall::default(), stamp: stamp(path), tokens })
    }

    /// Reads the file again if it has changed. One that is no good changes nothing.
    fn look_again(&mut self, now: Wall, counters: &Counters) {
        if now.since(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        let stamp = stamp(&self.path);
        if stamp == self.stamp {
            return;
        }
        // Told once for each change, not once for each look.
        self.stamp = stamp;
        match Tokens::read(&self.path) {
            Ok(new) => {
                self.tokens = new.tokens;
                counters.auth_reloads.up();
                tracing::info!(target: "forebay::admin", "{} tokens read again", self.tokens.len());
            }
            Err(faults) => {
                counters.auth_reloads_refused.up();
                tracing::error!(target: "forebay::admin", "the old tokens stay in force: {}", faults.join("; "));
            }
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    #[serde(default)]
    token: Vec<WrittenToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenToken {
    name: String,
    sha256: String,
    scopes: Vec<String>,
    sites: Option<Vec<String>>,
}

/// Reads a file of tokens, or says all that is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Token>, Vec<String>> {
    let written: WrittenFile = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
        vec![format!(
            "line {line}: {}. Each [[token]] has name, sha256, scopes and perhaps sites.",
            error.message()
        )]
    })?;
    let mut faults = Vec::new();
    let mut tokens: Vec<Token> = Vec::new();
    for (number, entry) in written.token.into_iter().enumerate() {
        let whose = format!("token {} ({:?})", number + 1, entry.name);
        let digest = from_hex(&entry.sha256);
        if digest.is_none() {
            faults.push(format!(
                "{whose}: sha256 is not 64 hexadecimal digits. `forebay token NAME` prints one."
            ));
        }
        let mut scopes = Vec::new();
        for name in &entry.scopes {
            match Scope::from_name(name) {
                Some(scope) => scopes.push(scope),
                None => faults.push(format!(
                    "{whose}: there is no scope {name:?}. There are {}.",
                    Scope::names().collect::<Vec<_>>().join(", ")
                )),
            }
        }
        if tokens.iter().any(|other| *other.caller.name == *entry.name || Some(other.digest) == digest) {
            faults.push(format!("{whose}: its name or its sha256 is there already. Give each its own."));
        }
        let sites = entry.sites.map(Arc::from);
        let caller =
            Caller { name: entry.name.as_str().into(), scopes: scopes.into(), sites, by_token: true };
        tokens.push(Token { digest: digest.unwrap_or_default(), caller });
    }
    if faults.is_empty() { Ok(tokens) } else { Err(faults) }
}

/// A new token, and the entry for the file of tokens.
pub fn new_token(name: &str, scopes: &[Scope], sites: &[String]) -> std::io::Result<(String, String)> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let token = to_hex(&random);
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    let sites = if sites.is_empty() { String::new() } else { format!("sites = {sites:?}\n") };
    let hash = to_hex(&digest(token.as_bytes()));
    Ok((token, format!("[[token]]\nname = {name:?}\nsha256 = \"{hash}\"\nscopes = {scopes:?}\n{sites}")))
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The tokens that a caller shows.
pub fn presented(shown: Shown<'_>) -> impl Iterator<Item = Vec<u8>> {
    let authorization = shown.authorization.and_then(|value| {
        let (scheme, rest) = value.split_at(value.iter().position(|&byte| byte == b' ')?);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            Some(rest.to_vec())
        } else if scheme.eq_ignore_ascii_case(b"basic") {
            use base64::Engine;
            let pair = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
            Some(pair[pair.iter().position(|&byte| byte == b':')? + 1..].to_vec())
        } else {
            None
        }
    });
    let secret = shown.secret.map(|value| value.trim_ascii().to_vec());
    authorization.into_iter().chain(secret).filter(|token| !token.is_empty())
}

/// Whose failures count together: an IPv4 address, or an IPv6 network of 64 bits.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Settings;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn hash(token: &str) -> String {
        to_hex(&digest(token.as_bytes()))
    }

    fn auth(settings: &Settings) -> (Auth, Clock, Arc<Counters>) {
        let (clock, counters) = (Clock::manual(Wall::from_secs(1000)), Arc::new(Counters::default()));
        (Auth::new(settings, clock.clone(), Arc::clone(&counters)).expect("good settings"), clock, counters)
    }

    fn bearer(token: &str) -> Vec<u8> {
        format!("Bearer {token}").into_bytes()
    }

    fn ask(auth: &Auth, authorization: &[u8]) -> Result<Caller, Denied> {
        auth.caller(PEER, Shown { authorization: Some(authorization), secret: None })
    }

    #[test]
    fn a_token_is_shown_in_any_of_three_ways() {
        let (auth, ..) = auth(&Settings { token: Some("sesame".to_owned()), ..Settings::default() });
        for good in ["Bearer sesame", "bearer  sesame ", "Basic dXNlcjpzZXNhbWU="] {
            assert!(ask(&auth, good.as_bytes()).is_ok(), "{good}");
        }
        assert!(auth.caller(PEER, Shown { secret: Some(b"sesame"), authorization: None }).is_ok());
        for bad in ["sesame", "Bearer", "Bearer ", "Basic sesame", "Digest sesame"] {
            assert_eq!(ask(&auth, bad.as_bytes()), Err(Denied::NoCredentials), "{bad}");
        }
        for bad in ["Bearer sesam", "Bearer sesamee", "Basic c2VzYW1lOg==", "Basic OnNlc2Ft"] {
            let denied = ask(&auth, bad.as_bytes());
            assert!(
                matches!(denied, Err(Denied::BadCredentials | Denied::NoCredentials)),
                "{bad}: {denied:?}"
            );
        }
    }

    #[test]
    fn wrong_tokens_are_counted_by_address_and_the_window_ends() {
        let (auth, clock, counters) =
            auth(&Settings { token: Some("sesame".to_owned()), ..Settings::default() });
        for _ in 0..MOST_FAILURES {
            assert_eq!(ask(&auth, &bearer("no")), Err(Denied::BadCredentials));
        }
        assert!(matches!(ask(&auth, &bearer("sesame")), Err(Denied::TooManyFailures { .. })));
        let other: IpAddr = "192.0.2.2".parse().expect("an address");
        assert!(auth.caller(other, Shown { authorization: Some(&bearer("sesame")), secret: None }).is_ok());
        clock.advance(WINDOW);
        assert!(ask(&auth, &bearer("sesame")).is_ok());
        assert_eq!((counters.auth_failures.get(), counters.auth_limited.get()), (10, 1));
    }

    #[test]
    fn one_ipv6_network_is_one_caller() {
        let (auth, ..) = auth(&Settings { token: Some("sesame".to_owned()), ..Settings::default() });
        let from = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for n in 0..MOST_FAILURES {
            let shown = Shown { authorization: Some(b"Bearer no"), secret: None };
            assert_eq!(
                auth.caller(from(u16::try_from(n).expect("small")), shown),
                Err(Denied::BadCredentials)
            );
        }
        let shown = Shown { authorization: Some(b"Bearer sesame"), secret: None };
        assert!(matches!(auth.caller(from(99), shown), Err(Denied::TooManyFailures { .. })));
    }

    #[test]
    fn remembered_addresses_are_bounded() {
        let (auth, _, counters) = auth(&Settings { token: Some("sesame".to_owned()), ..Settings::default() });
        for n in 0..u32::try_from(MOST_ADDRESSES).expect("small") + 10 {
            let peer = IpAddr::from(n.to_be_bytes());
            let _ = auth.caller(peer, Shown { authorization: Some(b"Bearer no"), secret: None });
        }
        assert!(auth.failures.lock().len() <= MOST_ADDRESSES);
        assert_eq!(counters.auth_forgotten.get(), 10);
    }

    #[test]
    fn an_address_list_lets_in_for_its_scopes() {
        let allow = vec!["192.0.2.0/24".parse().expect("a network")];
        let (auth, ..) =
            auth(&Settings { allow, allow_scopes: vec![Scope::PurgeUrl], ..Settings::default() });
        let caller = auth.caller(PEER, Shown::default()).expect("from the list");
        assert_eq!(caller.may(Scope::PurgeUrl), Ok(()));
        assert!(matches!(caller.may(Scope::Operate), Err(Denied::Scope { .. })));
        let other: IpAddr = "198.51.100.1".parse().expect("an address");
        assert_eq!(auth.caller(other, Shown::default()), Err(Denied::NoCredentials));
    }

    #[test]
    fn a_token_may_do_what_its_scopes_and_sites_say() {
        let text = format!(
            "[[token]]\nname = \"shop\"\nsha256 = \"{}\"\nscopes = [\"purge-url\", \"purge-tag\"]\nsites = [\"shop\"]\n",
            hash("abc")
        );
        let tokens = parse(&text).expect("good");
        let caller = &tokens[0].caller;
        let site_of = |host: &str| Some(if host == "shop.example" { "shop" } else { "rest" }.to_owned());
        let url = |host: &str| Selector::Url {
            scheme: None,
            host: host.to_owned(),
            port: None,
            path_and_query: "/".to_owned(),
        };
        let tag = |site: Option<&str>| Selector::Tag { tag: "t".to_owned(), site: site.map(str::to_owned) };
        assert_eq!(caller.may_purge(vec![url("shop.example")], site_of), Ok(vec![url("shop.example")]));
        assert_eq!(caller.may_purge(vec![tag(None)], site_of), Ok(vec![tag(Some("shop"))]));
        for refused in
            [url("rest.example"), tag(Some("rest")), Selector::Path { path_and_query: "/".to_owned() }]
        {
            let denied = caller.may_purge(vec![refused.clone()], site_of);
            assert!(matches!(denied, Err(Denied::Site { .. })), "{refused}: {denied:?}");
        }
        assert!(matches!(caller.may_purge(vec![Selector::All], site_of), Err(Denied::Scope { .. })));
    }

    #[test]
    fn all_faults_of_a_file_are_told() {
        let good = hash("abc");
        let text = format!(
            "[[token]]\nname = \"a\"\nsha256 = \"abc\"\nscopes = [\"purge\"]\n[[token]]\nname = \"b\"\nsha256 = \"{good}\"\nscopes = []\n[[token]]\nname = \"b\"\nsha256 = \"{good}\"\nscopes = []\n"
        );
        let faults = parse(&text).expect_err("faults");
        assert_eq!(faults.len(), 3, "{faults:?}");
        let broken = parse("[[token]]\nname = 1\n").expect_err("a fault");
        assert!(broken[0].starts_with("line 2: "), "{broken:?}");
    }

    #[test]
    fn a_file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
        let path = std::env::temp_dir().join(format!("forebay-tokens-{}", std::process::id()));
        let entry = |token: &str| {
            format!("[[token]]\nname = \"t\"\nsha256 = \"{}\"\nscopes = [\"read\"]\n", hash(token))
        };
        std::fs::write(&path, entry("one")).expect("written");
        let (auth, clock, counters) = auth(&Settings { tokens: Some(path.clone()), ..Settings::default() });
        assert!(ask(&auth, &bearer("one")).is_ok());
        std::fs::write(&path, format!("# changed\n{}", entry("two"))).expect("written");
        clock.advance(LOOK);
        assert!(ask(&auth, &bearer("two")).is_ok());
        assert_eq!(ask(&auth, &bearer("one")), Err(Denied::BadCredentials));
        std::fs::write(&path, "nonsense").expect("written");
        clock.advance(LOOK);
        assert!(ask(&auth, &bearer("two")).is_ok());
        assert_eq!((counters.auth_reloads.get(), counters.auth_reloads_refused.get()), (1, 1));
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn a_new_token_fits_its_entry() {
        let (token, entry) = new_token("ci", &[Scope::PurgeUrl], &["shop".to_owned()]).expect("random");
        let tokens = parse(&entry).expect("a good entry");
        assert_eq!(tokens[0].digest, digest(token.as_bytes()));
        assert_eq!(tokens[0].caller.sites.as_deref(), Some(&["shop".to_owned()][..]));
    }
}
