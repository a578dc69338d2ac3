//! Listings over several groups: SCAN, KEYS, DBSIZE, RANDOMKEY, FLUSHDB and FLUSHALL.
//!
//! All groups that can have matching keys are asked at the same time, by commands that clients do
//! not have; whether the answers fit together is decided in [`listing`]. A round is repeated while
//! prefixes change hands under it, until it is complete or time is up. So a client gets all there
//! is, or an error that names a prefix, and never a part of it.
//!
//! On the cluster port a listing is of this node's share alone, because cluster clients ask every
//! node and add up. What moves from node to node meanwhile is theirs to find, as in Redis Cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bailiwick_frame::{Args, Encoder, Protocol};
use bailiwick_replication::GroupId;
use xxhash_rust::xxh3::xxh3_64;

use super::join::all;
use super::spread::{Asking, Weights};
use crate::commands::{CommandError, Known, Outcome, Page, lookup_logged, scan_request};
use crate::node;
use crate::routing::listing::{self, Answer, Verdict};
use crate::routing::spread::{self, Words};

/// The first and the longest wait before a listing is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// How many keys KEYS asks for at a time.
const KEYS_COUNT: usize = 16_384;

const NONSENSE: CommandError = CommandError::text("ERR a group's answer makes no sense");

impl Asking {
    pub(super) async fn scan(
        &self,
        args: Args<'_>,
        weights: &mut Weights,
        out: &mut Encoder<'_>,
    ) -> Outcome {
        let request = scan_request(args)?;
        let options: Vec<&[u8]> = args.from(2).iter().collect();
        let (from, count) = (request.cursor, request.count);
        let page = self
            .page(from, count, request.head, &options, weights)
            .await?;
        out.array(2);
        out.bulk_display(page.next);
        out.array(page.keys.len());
        page.keys.iter().for_each(|(_, key)| out.bulk(key));
        Ok(())
    }

    pub(super) async fn keys(
        &self,
        args: Args<'_>,
        weights: &mut Weights,
        out: &mut Encoder<'_>,
    ) -> Outcome {
        let pattern = args.arg(1);
        let words = Words::of([&b"SCAN"[..], b"0", b"MATCH", pattern]);
        let head = scan_request(words.args())?.head;
        let (mut next, mut found) = (0, 0);
        let list = out.deferred_array();
        loop {
            let options = [&b"MATCH"[..], pattern];
            let page = self.page(next, KEYS_COUNT, head, &options, weights).await?;
            found += page.keys.len();
            page.keys.iter().for_each(|(_, key)| out.bulk(key));
            next = page.next;
            if next == 0 {
                break;
            }
        }
        out.finish_array(list, found);
        Ok(())
    }

    /// The next keys of all groups, with the options that a client gave.
    async fn page(
        &self,
        from: u64,
        count: usize,
        head: &[u8],
        options: &[&[u8]],
        weights: &mut Weights,
    ) -> Result<Page, CommandError> {
        let known = std::mem::take(weights);
        let from = from.to_string();
        let answers = self
            .listing(head, |asked, group| {
                let count = listing::divide(count, asked, &known)[&group].to_string();
                let words = [&b"_SCAN"[..], from.as_bytes()];
                let words = words.into_iter().chain(options.iter().copied());
                // Of an option that is there twice, the last one counts.
                Words::of(words.chain([&b"COUNT"[..], count.as_bytes()]))
            })
            .await?;
        let mut pages = Vec::new();
        for (group, answer) in answers {
            let (keys, page) = answer.page().ok_or(NONSENSE)?;
            weights.insert(group, keys);
            pages.push(page);
        }
        Ok(listing::merge(pages))
    }

    /// How many keys each group has.
    async fn counts(&self) -> Result<Weights, CommandError> {
        let answers = self.listing(b"", |_, _| Words::of([&b"_COUNT"[..]]));
        let mut counts = Weights::new();
        for (group, answer) in answers.await? {
            counts.insert(group, answer.count().ok_or(NONSENSE)?);
        }
        Ok(counts)
    }

    pub(super) async fn count(&self, out: &mut Encoder<'_>) -> Outcome {
        let counts = self.counts().await?;
        let sum: u64 = counts.values().sum();
        out.integer(i64::try_from(sum).unwrap_or(i64::MAX));
        Ok(())
    }

    pub(super) async fn random(&self, out: &mut Encoder<'_>) -> Outcome {
        let mut counts = self.counts().await?;
        while let Some(group) = listing::choose(draw(), &counts) {
            let words = Words::of([&b"_RANDOMKEY"[..]]);
            let reply = self.ask(group, &words).await;
            let reply = reply.map_err(|error| self.explain(&error, group, b""))?;
            if let Some(key) = spread::bulk_of(&reply) {
                out.bulk(key);
                return Ok(());
            }
            // Whatever it counted has expired.
            counts.remove(&group);
        }
        out.null();
        Ok(())
    }

    pub(super) async fn flush(
        &self,
        command: Known,
        args: Args<'_>,
        out: &mut Encoder<'_>,
    ) -> Outcome {
        let is_option =
            |word: &[u8]| word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync");
        if args.len() > 2 || args.get(1).is_some_and(|word| !is_option(word)) {
            return Err(CommandError::Syntax);
        }
        let what: &[u8] = if command.name == "flushall" {
            b"ALL"
        } else {
            b"DB"
        };
        let words = |_: &_, _| Words::of([&b"_FLUSH"[..], what]);
        self.listing(b"", words).await?;
        out.ok();
        Ok(())
    }

    /// Puts a question to all groups that have keys with this head, until their answers fit
    /// together.
    async fn listing(
        &self,
        head: &[u8],
        words: impl Fn(&BTreeSet<GroupId>, GroupId) -> Words,
    ) -> Result<BTreeMap<GroupId, Answer>, CommandError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (answers, verdict) = match &self.only {
                Some(only) => {
                    let answers = self.ask_all(only, head, &words).await?;
                    let verdict = own_verdict(&answers);
                    (answers, verdict)
                }
                None => self.ask_round(head, &words).await?,
            };
            let Verdict::Moving { prefix, group } = verdict else {
                return Ok(answers);
            };
            if Instant::now() >= self.deadline {
                let prefix = prefix.unwrap_or_else(|| self.prefix_of(group, head));
                return Err(CommandError::composed(format!(
                    "TRYAGAIN Prefix '{}' is being moved, so {}; try again",
                    prefix.escape_ascii(),
                    self.shortfall
                )));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks those who are known to be concerned, and those whom they name.
    async fn ask_round(
        &self,
        head: &[u8],
        words: &impl Fn(&BTreeSet<GroupId>, GroupId) -> Words,
    ) -> Result<(BTreeMap<GroupId, Answer>, Verdict), CommandError> {
        let mut answers = BTreeMap::new();
        let mut ask = self.groups_with(head);
        loop {
            answers.append(&mut self.ask_all(&ask, head, words).await?);
            let shares = answers
                .iter()
                .map(|(group, answer): (_, &Answer)| (*group, &answer.share));
            match listing::judge(shares) {
                Verdict::Ask(more) => ask = more,
                verdict => return Ok((answers, verdict)),
            }
        }
    }

    async fn ask_all(
        &self,
        groups: &BTreeSet<GroupId>,
        head: &[u8],
        words: &impl Fn(&BTreeSet<GroupId>, GroupId) -> Words,
    ) -> Result<BTreeMap<GroupId, Answer>, CommandError> {
        let asked = groups.iter().map(|&group| {
            let words = words(groups, group);
            async move { (group, self.ask(group, &words).await) }
        });
        let mut answers = BTreeMap::new();
        for (group, reply) in all(asked).await {
            let reply = reply.map_err(|error| self.explain(&error, group, head))?;
            let answer = spread::bulk_of(&reply).and_then(Answer::read);
            answers.insert(group, answer.ok_or(NONSENSE)?);
        }
        Ok(answers)
    }

    /// Has a group execute an internal command; the reply is in RESP2.
    async fn ask(&self, group: GroupId, words: &Words) -> Result<Vec<u8>, CommandError> {
        let command = lookup_logged(words.args())?;
        let (ticket, proposal) = self.proposal(group, command, words, Protocol::Resp2);
        let mut proposal = ticket.submit(proposal).await;
        match spread::error_of(&proposal.replies) {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut proposal.replies)),
        }
    }

    /// What a client reads if a group cannot answer.
    pub(super) fn explain(
        &self,
        error: &CommandError,
        group: GroupId,
        head: &[u8],
    ) -> CommandError {
        let text = error.to_string();
        let Some(reason) = text.strip_prefix("CLUSTERDOWN ") else {
            return error.clone();
        };
        let prefix = self.prefix_of(Some(group), head);
        let estate = self.worker.node.estate();
        let name = estate.map_or_else(String::new, |estate| estate.group_name(group));
        CommandError::composed(format!(
            "CLUSTERDOWN Prefix '{}' of group {name} cannot be reached, so {}: {reason}",
            prefix.escape_ascii(),
            self.shortfall
        ))
    }

    /// A prefix of a group that is concerned, as far as the directory knows.
    fn prefix_of(&self, group: Option<GroupId>, head: &[u8]) -> Vec<u8> {
        let routes = self.worker.node.routes();
        let found = routes.and_then(|routes| routes.prefix_with(head, group));
        found.unwrap_or_default()
    }
}

/// Whether this node's share is at rest.
fn own_verdict(answers: &BTreeMap<GroupId, Answer>) -> Verdict {
    let mut answers = answers.iter();
    let frozen = answers.find_map(|(group, answer)| Some((*group, answer.share.frozen.clone()?)));
    match frozen {
        Some((group, prefix)) => Verdict::Moving {
            prefix: Some(prefix),
            group: Some(group),
        },
        None => Verdict::Complete,
    }
}

/// A number that nobody can foresee, for a choice on which nothing depends.
fn draw() -> u64 {
    xxh3_64(&node::now_ns().to_le_bytes())
}
