//! What is known besides the parts that are simulated: the origin, what has been purged
//! and when, and so what may be served.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use forebay::message::{Broken, Piece, ResponseHead};
use forebay::origin::{Exchange, Failure, Outgoing};
use forebay::rfc::fields::Fields;
use forebay::stored::Selector;
use futures_util::StreamExt;
use futures_util::stream;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// A response that may be wanted: a path, and one of its variants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Thing {
    pub path: usize,
    pub variant: usize,
}

/// The tags that there are.
const TAGS: usize = 3;

/// How the origin does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Well,
    /// It says 503.
    Broken,
    /// It says 429, and when to come back.
    Strained,
    /// It takes seconds.
    Slow,
    /// It never answers.
    Hanging,
    /// All of this, and more, now and then.
    Moody,
}

/// A purge, in the order in which all apply them.
#[derive(Clone, Debug)]
pub struct Purge {
    /// When, in the order of what happens at the origin.
    pub turn: u64,
    pub what: Selector,
    pub soft: bool,
}

/// The origin and its past.
pub struct Shadow {
    pub state: Mutex<State>,
    /// There is another purge.
    pub purged: Notify,
    pub rate: f64,
    pub concurrency: usize,
}

pub struct State {
    random: Rng,
    /// Counts what happens at the origin, and purges.
    turn: u64,
    versions: Vec<u64>,
    pub mood: Mood,
    pub purges: Vec<Purge>,
    /// When the origin was asked.
    pub asked: Vec<Instant>,
    under_way: usize,
    /// Whether somebody else reads miss events since lately, and how often.
    pub takeovers: Vec<Instant>,
    /// What must not have happened.
    pub wrong: Vec<String>,
}

/// What is written in a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    pub thing: Thing,
    pub version: u64,
    pub turn: u64,
}

impl Thing {
    pub fn target(self) -> String {
        format!("/{}/{}", ["a", "b"][self.path % 2], self.path)
    }

    pub fn of(target: &str, variant: Option<&str>) -> Option<Thing> {
        let path = target.rsplit('/').next()?.parse().ok()?;
        let variant = variant.map_or(Some(0), |text| text.parse().ok())?;
        Some(Thing { path, variant })
    }
}

impl Content {
    fn text(self) -> String {
        let Content { thing: Thing { path, variant }, version, turn } = self;
        format!("{path} {variant} {version} {turn}")
    }

    pub fn read(bytes: &[u8]) -> Option<Content> {
        let text = std::str::from_utf8(bytes).ok()?;
        let numbers: Vec<u64> = text.split(' ').map_while(|part| part.parse().ok()).collect();
        let [path, variant, version, turn] = numbers[..] else { return None };
        let thing = Thing { path: path as usize, variant: variant as usize };
        Some(Content { thing, version, turn })
    }

    /// Whether it has a tag: another version may have others.
    fn has(self, tag: usize) -> bool {
        (self.thing.path * 7 + self.version as usize * 5 + tag * 3).is_multiple_of(TAGS)
    }

    fn tags(self) -> String {
        let tags = (0..TAGS).filter(|tag| self.has(*tag)).map(|tag| format!("t{tag}"));
        tags.collect::<Vec<String>>().join(" ")
    }
}

impl Purge {
    fn means(&self, content: Content) -> bool {
        match &self.what {
            Selector::Url { path_and_query, .. } => *path_and_query == content.thing.target(),
            Selector::Prefix { prefix, .. } => content.thing.target().starts_with(prefix.as_str()),
            Selector::Tag { tag, .. } => {
                tag.strip_prefix('t').and_then(|tag| tag.parse().ok()).is_some_and(|tag| content.has(tag))
            }
            Selector::All => true,
            _ => false,
        }
    }
}

impl Shadow {
    pub fn new(random: Rng, paths: usize, rate: f64, concurrency: usize) -> Arc<Self> {
        let state = State {
            random,
            turn: 0,
            versions: vec![0; paths],
            mood: Mood::Well,
            purges: Vec::new(),
            asked: Vec::new(),
            under_way: 0,
            takeovers: Vec::new(),
            wrong: Vec::new(),
        };
        Arc::new(Shadow { state: Mutex::new(state), purged: Notify::new(), rate, concurrency })
    }

    /// Notes that something happened that must not.
    pub fn wrong(&self, what: String) {
        self.state.lock().wrong.push(what);
    }

    /// The origin has something new at a path.
    pub fn change(&self, path: usize) {
        self.state.lock().versions[path] += 1;
    }

    /// Somebody purges.
    pub fn purge(&self) {
        let mut state = self.state.lock();
        state.turn += 1;
        let paths = state.versions.len();
        let path = state.random.usize(..paths);
        let what = match state.random.u8(..10) {
            0..5 => Selector::Url {
                scheme: None,
                host: "h".to_owned(),
                port: None,
                path_and_query: Thing { path, variant: 0 }.target(),
            },
            5..8 => Selector::Tag { tag: format!("t{}", state.random.usize(..TAGS)), site: None },
            8 => Selector::Prefix { host: None, port: None, prefix: "/a/".to_owned() },
            _ => Selector::All,
        };
        let purge = Purge { turn: state.turn, what, soft: state.random.u8(..3) == 0 };
        state.purges.push(purge);
        self.purged.notify_waiters();
    }

    /// Something was served: by an edge that had applied so many purges when it was asked.
    pub fn served(&self, edge: &str, content: Content, thing: Thing, is_fresh: bool, applied: usize) {
        let mut state = self.state.lock();
        let later = state.purges[..applied].iter().filter(|purge| purge.turn > content.turn);
        let forbids = |purge: &&Purge| (!purge.soft || is_fresh) && purge.means(content);
        let mut wrong: Vec<String> = later
            .filter(forbids)
            .map(|purge| format!("{edge} served {content:?}, fresh: {is_fresh}, in spite of {purge:?}"))
            .collect();
        if content.thing != thing {
            wrong.push(format!("{edge} served {content:?} for {thing:?}"));
        }
        state.wrong.append(&mut wrong);
    }

    /// The origin is asked.
    pub async fn answer(self: Arc<Self>, outgoing: Outgoing) -> Result<Exchange, Failure> {
        let variant = outgoing.head.fields.get_str("x-v");
        let Some(thing) = Thing::of(&outgoing.head.target, variant) else {
            self.wrong(format!("the origin was asked for {}", outgoing.head.target));
            return Err(Failure::Closed);
        };
        let busy = self.begin();
        let (before, after, noise, mood) = {
            let mut state = self.state.lock();
            let mood = match state.mood {
                Mood::Moody => [Mood::Well, Mood::Well, Mood::Broken, Mood::Strained, Mood::Slow]
                    [state.random.usize(..5)],
                mood => mood,
            };
            let noise = if state.mood == Mood::Well { 99 } else { state.random.u8(..20) };
            let longest = if mood == Mood::Slow { 4000 } else { 60 };
            let mut time = || Duration::from_millis(state.random.u64(1..longest));
            (time(), time(), noise, mood)
        };
        sleep(before).await;
        if mood == Mood::Hanging {
            let patience = Duration::from_secs(30);
            sleep(patience).await;
            return Err(Failure::FirstByteTimeout(patience));
        }
        let (content, lifetime, wait) = {
            let mut state = self.state.lock();
            state.turn += 1;
            let content = Content { thing, version: state.versions[thing.path], turn: state.turn };
            (content, state.random.u64(1..20), state.random.u64(1..15))
        };
        sleep(after).await;
        let mut fields = Fields::new();
        let status = match (mood, noise) {
            (Mood::Broken, _) => StatusCode::SERVICE_UNAVAILABLE,
            (Mood::Strained, _) => StatusCode::TOO_MANY_REQUESTS,
            (_, 1) => return Err(Failure::Closed),
            (_, 2) => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        };
        if mood == Mood::Strained {
            fields.add("retry-after", wait.to_string());
        }
        let control = if noise == 0 { "no-store".to_owned() } else { format!("max-age={lifetime}") };
        fields.add("cache-control", control);
        fields.add("vary", "x-v");
        fields.add("surrogate-key", content.tags());
        let whole = Ok(Piece::Bytes(Bytes::from(content.text())));
        let pieces = if noise == 3 { vec![whole, Err(Broken::CutOff)] } else { vec![whole] };
        // The origin is busy with it until the body has been read.
        let body = stream::iter(pieces).map(move |piece| {
            let _busy = &busy;
            piece
        });
        Ok(Exchange { head: ResponseHead { status, fields }, body: body.boxed(), switched: None })
    }

    fn begin(self: &Arc<Self>) -> Busy {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.asked.push(now);
        state.under_way += 1;
        // What one pacer has released, whoever takes over does not know of.
        let lately = state.takeovers.iter().filter(|at| now - **at < Duration::from_secs(40)).count();
        let most = self.concurrency * (1 + lately);
        if state.under_way > most {
            let wrong = format!("{} requests are under way, not {most}", state.under_way);
            state.wrong.push(wrong);
        }
        Busy(Arc::clone(self))
    }
}

struct Busy(Arc<Shadow>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state.lock().under_way -= 1;
    }
}
