//! The nodes around one broker, which tell each other what was invalidated.
//!
//! Every node writes what it accepts into one stream, and every node reads that
//! stream from where it has come to. The order of the stream is the order in which
//! all of them apply.
//!
//! What always holds, in the words of the documentation: an invalidation holds on
//! the accepting node from its answer on; on another node from the moment that it
//! is listed for that invalidation; a node that was away catches up before it
//! serves; and a node that was cut off for longer than `max_disconnected`, or that
//! can no longer read what it has missed, takes everything that it holds for stale.
//!
//! A stream can be trimmed, lose its end with the broker's disk, or be made anew. So
//! a node remembers the id of the stream's first message (its *epoch*) and the id of
//! the last message that it applied, and begins to read with that one: if another
//! one stands there, something has been missed.
//!
//! What it never does: wait for the broker on behalf of a client's request.

mod members;
pub mod message;
pub mod position;
mod tiers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use members::Member;
use members::Members;
use message::{Announcement, Message, Purge, Says};
use position::{Kept, Position};
pub use tiers::Tiers;

use crate::broker::{
    self, Announcer, Broker, BrokerError, From, Link, Listener, Reader, Stream, StreamSettings,
};
use crate::invalidate::{Entry, Invalidator, Outbox, ReadTo};
use crate::observe::counters::Counters;
use crate::store::Refused;

/// How the nodes of a cluster keep together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The names at the broker begin with it; nodes of one name belong together.
    pub name: String,
    /// Cut off for longer than this a node takes everything it holds for stale.
    pub max_disconnected: Duration,
    /// How long a start waits until the node has caught up.
    pub catch_up: Duration,
    /// How long the stream keeps an invalidation.
    pub keep: Duration,
    /// How many bytes the stream keeps.
    pub keep_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            name: "forebay".to_owned(),
            max_disconnected: Duration::from_secs(60),
            catch_up: Duration::from_secs(10),
            keep: Duration::from_secs(7 * 86_400),
            keep_bytes: 1 << 30,
        }
    }
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Me {
    /// Its name in the cluster: no other node has it, and no other start of this one.
    pub node: String,
    /// As its configuration calls it.
    pub name: String,
    /// Its admin port.
    pub admin: String,
    /// Where its cache is filled from outside.
    pub fill: String,
}

/// This node's part in the cluster.
pub struct Cluster {
    inner: Arc<Inner>,
    tasks: Vec<JoinHandle<()>>,
}

struct Inner {
    settings: Settings,
    me: Me,
    broker: Broker,
    invalidator: Arc<Invalidator>,
    state: Option<PathBuf>,
    counters: Arc<Counters>,
    members: Mutex<Members>,
    reading: Mutex<Reading>,
    /// Held while something is applied: what a broken link has brought is done before the
    /// next link begins.
    applying: Arc<tokio::sync::Mutex<()>>,
    /// Told when the position has moved.
    moved: Notify,
    /// Whether everything has been read that there was when the link was made.
    caught_up: watch::Sender<bool>,
}

/// How far this node has come.
struct Reading {
    resume: Resume,
    /// When it was last known to miss nothing.
    in_touch: Instant,
    /// When everything was last taken for stale, or the node began.
    distrusted: Instant,
    /// The number of the last own invalidation that was read back.
    told: u64,
    /// What the state directory has.
    kept: Kept,
    /// Whether the place is one of the stream that is read now.
    confirmed: bool,
    /// Why there is no link.
    trouble: Option<String>,
}

/// Where reading goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Resume {
    /// Nothing was read yet, and nothing is held from before.
    Fresh,
    /// After this message.
    After(Position),
    /// What comes after the last message that was read is not there any more.
    Lost,
}

impl Resume {
    /// What was missed, if anything was.
    fn missed(&self) -> Option<&'static str> {
        match self {
            Resume::Fresh => Some("what was purged before it joined the cluster is not known"),
            Resume::Lost => Some("what was purged while it was away can no longer be read"),
            Resume::After(_) => None,
        }
    }
}

/// What this node has written into the stream when it linked up.
struct Here {
    /// The message's id.
    id: String,
    /// What is asked for after the number of this was asked for after that.
    turn: u64,
}

/// Why the link to the others broke, or was given up.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the stream says nothing, not even what this node wrote into it")]
    Mute,
    #[error("the broker passes on nothing, not even what this node announced")]
    Deaf,
    #[error("other nodes are further, and nothing arrives")]
    Behind,
    #[error("what this node has read last is not in the stream any more")]
    Lost,
}

/// The state of the cluster as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct View {
    /// This node's name in the cluster.
    pub node: String,
    /// Whether it is in touch with the others.
    pub connected: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Up to which offset of the stream it has applied everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The nodes that were heard of, this one among them.
    pub nodes: Vec<Member>,
}

/// How far an invalidation has come.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, JsonSchema)]
pub struct Reached {
    /// The nodes on which it holds, as far as is known.
    pub nodes: Vec<NodeName>,
    /// The live nodes of which it is not known yet.
    pub waiting_for: Vec<NodeName>,
}

/// A node, as it is listed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct NodeName {
    /// Its name in the cluster; another one at each start.
    pub node: String,
    /// As its configuration calls it.
    pub name: String,
}

/// Where the node of this name is filled, if it is known.
pub type Places = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Between two attempts to connect, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often a node announces itself, where nothing has happened.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// At least so often within `max_disconnected`: each tells the node that it is in touch.
const BEATS: u32 = 4;
/// Of news a node announces itself so soon, where there are few.
const NEWS: Duration = Duration::from_millis(10);
/// All announcements together are about so many deliveries a second.
const DELIVERIES: u32 = 10_000;
/// A stream that should say something is written to after so long, and given up after so
/// many times.
const NUDGE: Duration = Duration::from_secs(1);
const NUDGES: u32 = 4;
/// For so long a link may be silent where it should not be.
const SILENCE: Duration = Duration::from_secs(10);
/// How often the position is written down.
const WRITE_DOWN: Duration = Duration::from_secs(1);
/// A stream that was made anew is told again what was accepted within this time.
const LATELY: Duration = Duration::from_secs(600);
/// Bans of others wait for so long for room.
const ROOM: Duration = Duration::from_millis(50);

impl Cluster {
    /// Joins the cluster. Its node's state directory, if there is one, tells how
    /// far it had come.
    pub fn start(
        settings: Settings,
        broker: broker::Settings,
        me: Me,
        invalidator: Arc<Invalidator>,
        (state, kept): (Option<PathBuf>, Kept),
        counters: Arc<Counters>,
    ) -> Cluster {
        let resume = kept.position.clone().map_or(Resume::Fresh, Resume::After);
        let now = Instant::now();
        let reading = Reading {
            resume,
            in_touch: now,
            distrusted: now,
            told: kept.told,
            kept,
            confirmed: false,
            trouble: Some("not connected yet".to_owned()),
        };
        let inner = Arc::new(Inner {
            broker: Broker::new(broker, &format!("forebay {}", me.node)),
            settings,
            me,
            invalidator,
            state,
            counters,
            members: Mutex::default(),
            reading: Mutex::new(reading),
            applying: Arc::default(),
            moved: Notify::new(),
            caught_up: watch::Sender::new(false),
        });
        let tasks = vec![
            tokio::spawn(Arc::clone(&inner).keep_linked()),
            tokio::spawn(Arc::clone(&inner).keep_watch()),
        ];
        Cluster { inner, tasks }
    }

    /// Waits until this node has read everything there was, or `patience` has passed.
    /// Says which.
    pub async fn caught_up(&self) -> bool {
        let mut caught_up = self.inner.caught_up.subscribe();
        let patience = self.inner.settings.catch_up;
        tokio::time::timeout(patience, caught_up.wait_for(|done| *done)).await.is_ok()
    }

    /// Why this node is not in touch with the others, if it is not.
    pub fn trouble(&self) -> Option<String> {
        self.inner.reading.lock().trouble.clone()
    }

    /// Where nodes are filled, by their names in the cluster, or by those of their
    /// configurations.
    pub fn places(&self) -> Places {
        let inner = Arc::clone(&self.inner);
        Arc::new(move |name| inner.members.lock().fill_of(name, Instant::now()))
    }

    /// The cluster as this node sees it.
    pub fn view(&self) -> View {
        let (trouble, position) = {
            let reading = self.inner.reading.lock();
            (reading.trouble.clone(), reading.position().cloned())
        };
        let epoch = position.as_ref().map_or("", |position| position.epoch.as_str());
        let nodes = self.inner.members.lock().shown(&self.inner.me.node, epoch, Instant::now());
        let position = position.as_ref().map(|position| position.offset);
        View { node: self.inner.me.node.clone(), connected: trouble.is_none(), trouble, position, nodes }
    }

    /// What is known of how far an invalidation has come.
    pub fn reached(&self, entry: &Entry) -> Reached {
        let name = |member: &Member| NodeName { node: member.node.clone(), name: member.name.clone() };
        let this = NodeName { node: self.inner.me.node.clone(), name: self.inner.me.name.clone() };
        let (mut nodes, mut waiting_for) = (vec![this], Vec::new());
        if entry.identity.is_some() {
            for member in self.view().nodes.iter().filter(|member| !member.this) {
                let offset = entry.offset.filter(|offset| *offset <= member.position);
                if offset.is_some() && member.same_stream && self.inner.is_place(member) {
                    nodes.push(name(member));
                } else if member.live {
                    waiting_for.push(name(member));
                }
            }
        }
        Reached { nodes, waiting_for }
    }

    /// Leaves: tells the others, and writes down how far this node has come.
    pub async fn leave(&self) {
        let patience = Instant::now() + HEARTBEAT;
        // What it has accepted reaches the others before it goes, if that can be.
        while self.trouble().is_none()
            && self.inner.outbox().is_some_and(|outbox| !outbox.is_empty())
            && Instant::now() < patience
        {
            tokio::time::sleep(NEWS).await;
        }
        for task in &self.tasks {
            task.abort();
        }
        self.inner.write_down();
        let goodbye = async {
            let link = self.inner.broker.connect().await?;
            let (announcer, _listener) = link.announcements(&self.inner.exchange()).await?;
            let said = announcer.announce(&self.inner.announcement(HEARTBEAT, true).to_bytes()).await;
            link.close().await;
            said
        };
        // Without it the others notice a little later.
        let _ = tokio::time::timeout(HEARTBEAT, goodbye).await;
    }
}

impl Reading {
    /// Whether others may be told how far this node has come.
    fn is_confirmed(&self) -> bool {
        self.confirmed && self.position().is_some()
    }

    fn position(&self) -> Option<&Position> {
        match &self.resume {
            Resume::After(position) => Some(position),
            Resume::Fresh | Resume::Lost => None,
        }
    }
}

impl Inner {
    fn exchange(&self) -> String {
        format!("{}.nodes", self.settings.name)
    }

    fn outbox(&self) -> Option<&Outbox> {
        self.invalidator.outbox()
    }

    /// Whether what a member says of how far it has read is true of the stream as this node
    /// has read it.
    fn is_place(&self, member: &Member) -> bool {
        let epoch = self.reading.lock().position().map(|position| position.epoch.clone());
        epoch.is_some_and(|epoch| {
            self.invalidator.knows_place(&ReadTo { epoch, offset: member.position, id: member.id.clone() })
        })
    }

    /// Connects, and again whenever the link breaks.
    async fn keep_linked(self: Arc<Self>) {
        let mut pause = RETRY.0;
        let mut told = String::new();
        loop {
            let began = Instant::now();
            let broken = match self.link().await {
                Err(broken) => broken,
                Ok(never) => match never {},
            };
            self.invalidator.unlinks();
            let was_linked = self.reading.lock().trouble.is_none();
            let trouble = broken.to_string();
            self.counters.cluster_connected.set(0);
            self.counters.cluster_links_lost.add(u64::from(was_linked));
            self.reading.lock().trouble = Some(trouble.clone());
            if let Some(outbox) = self.outbox() {
                outbox.interrupted(&trouble);
            }
            if told != trouble {
                tracing::warn!(target: "forebay::cluster", "not in touch with the other nodes: {trouble}");
                told = trouble;
            }
            if matches!(broken, Broken::Lost) {
                continue;
            }
            if was_linked && began.elapsed() > SILENCE {
                (pause, told) = (RETRY.0, String::new());
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Links up, and passes on what there is in both directions until that breaks.
    async fn link(&self) -> Result<std::convert::Infallible, Broken> {
        let link = self.broker.connect().await?;
        let Settings { keep, keep_bytes, .. } = self.settings;
        let name = format!("{}.purges", self.settings.name);
        let stream = link.stream(&StreamSettings { name, keep, keep_bytes }).await?;
        let (announcer, listener) = link.announcements(&self.exchange()).await?;
        let (epoch, oldest) = self.first(&link, &stream).await?;
        let resume = self.resume(&epoch, oldest);
        let from = match &resume {
            Resume::Fresh => From::Next,
            Resume::After(position) => From::Offset(position.offset),
            Resume::Lost => From::First,
        };
        let mut reader = stream.read(&link, from).await?;
        let first = match &resume {
            // The broker says that it reads before it does. Only when something has come it is
            // known that nothing is missed from then on: not what is written behind the message
            // that this node takes its turn with.
            Resume::Fresh => {
                let begun = Message::new(Some(&epoch), Says::Here);
                stream.append(&begun.to_bytes()).await?;
                Some(next_or_nudge(&stream, &mut reader, &begun).await?)
            }
            Resume::After(_) | Resume::Lost => None,
        };
        drop(self.applying.lock().await);
        self.invalidator.links(&epoch, resume == Resume::Lost);
        if resume == Resume::Lost {
            self.counters.cluster_lost.up();
            self.invalidator.tell_again(LATELY);
        }
        let here = self.say_here(&stream, &epoch, resume.missed()).await?;
        tokio::select! {
            broken = self.read((&link, &stream), (reader, first), (&epoch, &resume), here) => broken,
            broken = self.tell(&stream, &epoch) => broken,
            broken = self.keep_company(&announcer, listener) => broken,
        }
    }

    /// Writes into the stream that this node reads it, and takes a turn: what stands there
    /// before that was accepted before now, so it does not mean what is asked for from now
    /// on. Where something was `missed`, all that was asked for before is stale; it never kills
    /// newer content.
    async fn say_here(&self, stream: &Stream, epoch: &str, missed: Option<&str>) -> Result<Here, Broken> {
        let message = Message::new(Some(epoch), Says::Here);
        stream.append(&message.to_bytes()).await?;
        let turn = match missed {
            Some(why) => self.distrust(why).await,
            None => self.invalidator.turn(),
        };
        Ok(Here { id: message.id, turn })
    }

    /// The id and the offset of the stream's first message, which is written where
    /// there is none.
    async fn first(&self, link: &Link, stream: &Stream) -> Result<(String, u64), Broken> {
        let mut reader = stream.read(link, From::First).await?;
        // Somebody else may write one as well; then the first of them counts.
        let founded = Message::new(None, Says::Founded);
        let first = next_or_nudge(stream, &mut reader, &founded).await?;
        let epoch = match Message::read(&first.data) {
            Ok(message) => message.epoch().to_owned(),
            // It stands there for all to see, and is as good as any other.
            Err(_) => id_of(&first.data),
        };
        Ok((epoch, first.offset))
    }

    fn resume(&self, epoch: &str, oldest: u64) -> Resume {
        let mut reading = self.reading.lock();
        if let Resume::After(position) = &reading.resume
            && (position.epoch != epoch || position.offset < oldest)
        {
            reading.resume = Resume::Lost;
        }
        reading.resume.clone()
    }

    /// Reads the stream, and applies what it says.
    async fn read(
        &self,
        (link, stream): (&Link, &Stream),
        (mut reader, mut first): (Reader, Option<broker::Message>),
        (epoch, resume): (&str, &Resume),
        mut here: Here,
    ) -> Result<std::convert::Infallible, Broken> {
        let mut expected = {
            let mut reading = self.reading.lock();
            reading.confirmed = false;
            reading.position().cloned()
        };
        let mut caught_up = false;
        let (mut nudges, mut has_read) = (0, first.is_some());
        loop {
            let message = if let Some(first) = first.take() {
                first
            } else if caught_up {
                reader.next().await?
            } else {
                // What this node has just written must arrive at least. Where nothing does, the
                // reader may have begun later than it was to, and what stands in between is
                // missed: so it is written anew, and what is asked for before that counts as
                // missed, too. Where something was read it is written anew with a turn of its own
                // all the same: others may have written since the last one.
                let Ok(next) = tokio::time::timeout(NUDGE, reader.next()).await else {
                    nudges += 1;
                    if nudges == NUDGES {
                        return Err(self.why_mute(link, stream, expected.as_ref()).await);
                    }
                    here = self.say_here(stream, epoch, resume.missed().filter(|_| !has_read)).await?;
                    continue;
                };
                (nudges, has_read) = (0, true);
                next?
            };
            let read = Message::read(&message.data);
            let id = match &read {
                Ok(message) => message.id.clone(),
                Err(_) => id_of(&message.data),
            };
            if let Some(last) = expected.take() {
                if message.offset != last.offset || id != last.id {
                    return Err(self.lost());
                }
                self.reading.lock().confirmed = true;
                continue;
            }
            let is_here = id == here.id && !caught_up;
            let before = self.reading.lock().position().map(|position| position.offset);
            if before.is_some_and(|before| message.offset <= before) {
                // The broker has lost the end, and does not say so. (A gap means nothing:
                // it keeps notes of its own between the messages.)
                return Err(self.lost());
            }
            let position = Position { epoch: epoch.to_owned(), offset: message.offset, id };
            match read {
                Ok(read) => {
                    let before = if caught_up { u64::MAX } else { here.turn };
                    self.apply(read, message.offset, before).await;
                }
                Err(unread) => {
                    self.counters.cluster_unread.up();
                    tracing::error!(
                        target: "forebay::cluster",
                        "the message at offset {} of {}.purges: {unread}",
                        message.offset,
                        self.settings.name
                    );
                    let _ = self.distrust("a message of the cluster is not understood").await;
                }
            }
            let Position { epoch, offset, id } = position.clone();
            self.invalidator.has_read(ReadTo { epoch, offset, id }, is_here.then_some(here.turn));
            self.counters.cluster_position.set(position.offset);
            {
                let mut reading = self.reading.lock();
                (reading.resume, reading.confirmed) = (Resume::After(position), true);
            }
            self.moved.notify_one();
            if is_here {
                caught_up = true;
                self.linked();
            }
        }
    }

    /// What comes after what was read last is not there any more.
    fn lost(&self) -> Broken {
        self.reading.lock().resume = Resume::Lost;
        self.members.lock().forget_positions();
        Broken::Lost
    }

    /// Why nothing arrives from where this node has come to: if what is written now stands
    /// before that, the end of the stream was lost.
    async fn why_mute(&self, link: &Link, stream: &Stream, expected: Option<&Position>) -> Broken {
        let Some(expected) = expected else { return Broken::Mute };
        let here = Message::new(Some(&expected.epoch), Says::Here);
        let next = async {
            let mut reader = stream.read(link, From::Next).await?;
            next_or_nudge(stream, &mut reader, &here).await
        };
        match next.await {
            Ok(next) if next.offset <= expected.offset => self.lost(),
            Ok(_) => Broken::Mute,
            Err(broken) => broken,
        }
    }

    async fn apply(&self, message: Message, offset: u64, before: u64) {
        let Says::Purges { purges } = message.says else { return };
        let mut entries = purges.into_iter().map(Purge::into_entry).collect::<Vec<Entry>>().into_iter();
        while !entries.as_slice().is_empty() {
            let (invalidator, rest) = (Arc::clone(&self.invalidator), entries.as_slice().to_vec());
            let applying = Arc::clone(&self.applying).lock_owned().await;
            // It takes locks that others hold for long, and the disk may be slow.
            let work = tokio::task::spawn_blocking(move || {
                let _applying = applying;
                let mut applied = 0;
                let mut told = 0;
                for entry in rest {
                    let number = entry.identity.as_ref().map_or(0, |identity| identity.number);
                    match invalidator.apply(entry, offset, before) {
                        Ok(true) => told = told.max(number),
                        Ok(false) => {}
                        Err(refused) => return (applied, told, Some(refused)),
                    }
                    applied += 1;
                }
                (applied, told, None)
            });
            let (applied, told, refused) = work.await.unwrap_or((0, 0, Some(Refused::Lost)));
            {
                let mut reading = self.reading.lock();
                reading.told = reading.told.max(told);
            }
            entries.by_ref().take(applied).for_each(drop);
            if let Some(refused) = refused {
                tracing::warn!(target: "forebay::cluster", "a purge of another node has to wait: {refused}");
                tokio::time::sleep(ROOM).await;
            }
        }
    }

    /// Everything that there was has been read.
    fn linked(&self) {
        let mut reading = self.reading.lock();
        reading.trouble = None;
        reading.in_touch = Instant::now();
        drop(reading);
        if let Some(outbox) = self.outbox() {
            outbox.again();
        }
        self.counters.cluster_connected.set(1);
        self.caught_up.send_replace(true);
        tracing::info!(target: "forebay::cluster", "in touch with the cluster {}, as {}", self.settings.name, self.me.node);
    }

    /// Tells the others what this node has accepted, in order: a message is written
    /// when the one before it has been confirmed.
    async fn tell(&self, stream: &Stream, epoch: &str) -> Result<std::convert::Infallible, Broken> {
        let mut linked = self.caught_up.subscribe();
        let _ = linked.wait_for(|_| self.reading.lock().trouble.is_none()).await;
        let Some(outbox) = self.outbox() else { return std::future::pending().await };
        loop {
            let batch = outbox.batch().await;
            let purges = batch.iter().filter_map(Purge::of).collect();
            stream.append(&Message::new(Some(epoch), Says::Purges { purges }).to_bytes()).await?;
            self.counters.cluster_told.add(batch.len() as u64);
            if let Some(last) = batch.last() {
                outbox.confirmed(last);
            }
        }
    }

    /// Announces this node, and hears of the others.
    async fn keep_company(
        &self,
        announcer: &Announcer,
        mut listener: Listener,
    ) -> Result<std::convert::Infallible, Broken> {
        let mut heard_self = Instant::now();
        let mut announced: Option<Instant> = None;
        let mut behind: Option<(u64, Instant)> = None;
        let mut news = true;
        loop {
            let nodes = self.members.lock().live(Instant::now());
            let pace = pace(nodes);
            let rest = pace.max(HEARTBEAT.min(self.settings.max_disconnected / BEATS));
            let due = match announced {
                None => Duration::ZERO,
                Some(at) => (if news { pace } else { rest }).saturating_sub(at.elapsed()),
            };
            tokio::select! {
                said = listener.next() => self.hear(&said?, &mut heard_self),
                () = self.moved.notified() => news = true,
                () = tokio::time::sleep(due) => {
                    announced = Some(Instant::now());
                    news = false;
                    if self.reading.lock().is_confirmed() {
                        announcer.announce(&self.announcement(rest, false).to_bytes()).await?;
                    }
                }
            }
            if heard_self.elapsed() > SILENCE.max(pace * 3) {
                return Err(Broken::Deaf);
            }
            let Some(position) = self.reading.lock().position().cloned() else { continue };
            let furthest = {
                let members = self.members.lock();
                self.counters.cluster_nodes.set(members.live(Instant::now()) as u64);
                members.furthest(&position.epoch, Instant::now())
            };
            behind = match behind {
                _ if position.offset >= furthest => None,
                Some((offset, since)) if offset == position.offset => Some((offset, since)),
                _ => Some((position.offset, Instant::now())),
            };
            match behind {
                Some((_, since)) if since.elapsed() > SILENCE => return Err(Broken::Behind),
                Some(_) => {}
                None => {
                    let mut reading = self.reading.lock();
                    // Before it has caught up it is behind, whatever it has heard of.
                    if reading.trouble.is_none() {
                        reading.in_touch = heard_self.max(reading.in_touch);
                    }
                }
            }
        }
    }

    fn hear(&self, said: &[u8], heard_self: &mut Instant) {
        let now = Instant::now();
        match Announcement::read(said) {
            Ok(said) if said.node == self.me.node => {
                *heard_self = now;
                self.members.lock().hear(said, now);
            }
            Ok(said) => {
                let name = format!("{} ({})", said.name, said.node);
                if self.members.lock().hear(said, now) {
                    tracing::info!(target: "forebay::cluster", "{name} is there");
                }
            }
            Err(unread) => {
                self.counters.cluster_unread.up();
                tracing::debug!(target: "forebay::cluster", "an announcement: {unread}");
            }
        }
    }

    fn announcement(&self, next: Duration, leaves: bool) -> Announcement {
        let position = self.reading.lock().position().cloned();
        let Position { epoch, offset: position, id } = position.unwrap_or_default();
        let Me { node, name, admin, fill } = self.me.clone();
        let forebay = env!("CARGO_PKG_VERSION").to_owned();
        let (version, next_ms) = (Announcement::VERSION, next.as_millis() as u64);
        Announcement { version, node, name, forebay, admin, fill, epoch, position, id, next_ms, leaves }
    }

    /// Looks after what depends on time: being cut off, and the position on disk.
    async fn keep_watch(self: Arc<Self>) {
        let limit = self.settings.max_disconnected;
        let mut ticker = tokio::time::interval((limit / 4).clamp(Duration::from_millis(5), WRITE_DOWN));
        let mut written = Instant::now();
        loop {
            ticker.tick().await;
            let cut_off = {
                let reading = self.reading.lock();
                reading.in_touch.max(reading.distrusted).elapsed() > limit
            };
            if cut_off {
                let why = format!("it was cut off from the cluster for longer than {limit:?}");
                let _ = self.distrust(&why).await;
            }
            if written.elapsed() >= WRITE_DOWN {
                let inner = Arc::clone(&self);
                let _ = tokio::task::spawn_blocking(move || inner.write_down()).await;
                written = Instant::now();
            }
        }
    }

    /// Takes everything that is held for stale. Returns the number of that.
    async fn distrust(&self, why: &str) -> u64 {
        // Whatever comes after this moment is of the next turn.
        self.reading.lock().distrusted = Instant::now();
        let (invalidator, why) = (Arc::clone(&self.invalidator), why.to_owned());
        let work = tokio::task::spawn_blocking(move || {
            let (number, responses) = invalidator.distrust_all(&why);
            if responses > 0 {
                tracing::warn!(target: "forebay::cluster", "{responses} responses are stale now: {why}");
            }
            number
        });
        // Where that has failed it is a number for now at least.
        work.await.unwrap_or_else(|_| self.invalidator.turn())
    }

    fn write_down(&self) {
        let Some(state) = &self.state else { return };
        let kept = {
            let reading = self.reading.lock();
            let kept = Kept { position: reading.position().cloned(), told: reading.told };
            if kept == reading.kept {
                return;
            }
            kept
        };
        // A node that starts reads on from there: what lies before must be in its journal.
        if !self.invalidator.is_written() {
            return;
        }
        match position::save(state, &kept) {
            Ok(()) => self.reading.lock().kept = kept,
            Err(error) => {
                self.counters.journal_errors.up();
                tracing::error!(target: "forebay::cluster", "how far this node has read is not on disk: {error}");
            }
        }
    }
}

/// The next message of a stream that must have one. A broker that has just started
/// sometimes tells a reader of nothing new until more is written; so it is nudged.
async fn next_or_nudge(
    stream: &Stream,
    reader: &mut Reader,
    nudge: &Message,
) -> Result<broker::Message, Broken> {
    for _ in 0..NUDGES {
        match tokio::time::timeout(NUDGE, reader.next()).await {
            Ok(message) => return Ok(message?),
            Err(_) => stream.append(&nudge.to_bytes()).await?,
        }
    }
    Err(Broken::Mute)
}

/// What stands for the id of a message that is not understood.
fn id_of(data: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(data))
}

/// How often each of so many nodes announces itself at most.
fn pace(nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
    (Duration::from_secs(1) / DELIVERIES).saturating_mul(nodes.saturating_mul(nodes)).clamp(NEWS, SILENCE)
}
