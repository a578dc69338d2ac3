//! XREADGROUP: delivers entries to a consumer of a group, and repeats what it has not acknowledged.
//!
//! **A request that finds nothing has changed something**: as in Redis 7.2 its consumer is there
//! from now on, and was seen, also if the request goes on to wait and runs again. That is sound: it
//! happens at steps of the log, with their time, so replicas agree; once more is as good as once,
//! so it does not matter how often a request is made anew; and it is no change of the key, so
//! nobody is woken by it.

use bailiwick_frame::{Args, Encoder};

use super::super::{CommandError, Outcome, WriteContext};
use super::group::{CONSUMER_CREATED, announce};
use super::read::{Request, nothing_new, write_stream_header, write_streams_header};
use super::reply::{at_most, write_entry, write_id};
use super::{id, no_group};
use crate::keyspace::StreamId;
use crate::keyspace::stream::{Entries, Group, Pending, Slot, Stream};

const NO_DOLLAR: CommandError = CommandError::text(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
     consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
     return an empty result set.",
);

pub(super) fn xreadgroup(
    ctx: &mut WriteContext<'_>,
    args: Args<'_>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let now_ms = ctx.now_ms;
    let request = Request::parse(args, true, now_ms)?;
    let (group, consumer) = request
        .group
        .expect("a request without a group was refused");
    let ids = check(ctx, &request, group)?;
    let mut body = Vec::new();
    let mut body_out = Encoder::new(&mut body, out.protocol());
    let mut served = 0;
    for ((key, _), &behind) in request.streams().zip(&ids) {
        let mut is_new = false;
        let serve = |group: &mut Group, entries: &Entries<'_>| {
            is_new = group.slot(consumer).is_none();
            let slot = group.see_consumer(consumer, now_ms);
            let start = start_of(behind, group, entries)?;
            write_stream_header(key, &mut body_out);
            let mut delivery = Delivery {
                group,
                entries,
                slot,
                now_ms,
            };
            if behind == StreamId::MAX {
                delivery.deliver(start, &request, &mut body_out);
            } else {
                delivery.repeat(start, request.count, &mut body_out);
            }
            Some(())
        };
        // As in Redis, WATCH does not notice what a group does.
        let done = ctx.edit(key, |stream: &mut Stream| {
            (stream.edit_group(group, serve), 0)
        })?;
        if is_new {
            announce(ctx, key, CONSUMER_CREATED);
        }
        served += usize::from(done.flatten().flatten().is_some());
    }
    if served == 0 {
        return nothing_new(ctx.may_wait, &request, &ids, out);
    }
    ctx.note_changes(served as u64);
    write_streams_header(served, out);
    out.buffer().extend_from_slice(&body);
    Ok(())
}

/// The IDs behind which the consumer reads, the greatest of all standing for what is new.
fn check(
    ctx: &WriteContext<'_>,
    request: &Request<'_>,
    group: &[u8],
) -> Result<Vec<StreamId>, CommandError> {
    let ids = request.streams().map(|(key, word)| {
        let stream = ctx.object::<Stream>(key)?;
        if stream.and_then(|stream| stream.group(group)).is_none() {
            return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
        }
        match word {
            b"$" => Err(NO_DOLLAR),
            b">" => Ok(StreamId::MAX),
            _ => id::strict(word, 0),
        }
    });
    ids.collect()
}

/// Where reading begins; `None` if there is nothing new.
fn start_of(behind: StreamId, group: &Group, entries: &Entries<'_>) -> Option<StreamId> {
    if behind != StreamId::MAX {
        return behind.next();
    }
    (entries.top_id() > group.last_id)
        .then(|| group.last_id.next())
        .flatten()
}

/// What is needed to serve a consumer.
struct Delivery<'a> {
    group: &'a mut Group,
    entries: &'a Entries<'a>,
    slot: Slot,
    now_ms: i64,
}

impl Delivery<'_> {
    /// Delivers entries from `start` on that the group has not seen.
    fn deliver(&mut self, start: StreamId, request: &Request<'_>, out: &mut Encoder<'_>) {
        let (array, mut count) = (out.deferred_array(), 0);
        for entry in self.entries.from(start).take(at_most(request.count)) {
            self.advance(entry.id);
            write_entry(entry, out);
            count += 1;
            if request.no_ack {
                continue;
            }
            let pending = Pending {
                consumer: self.slot,
                delivered_ms: self.now_ms,
                deliveries: 1,
            };
            self.group.set_pending(entry.id, pending);
        }
        if count > 0 && !request.no_ack {
            self.group.note_active(self.slot, self.now_ms);
        }
        out.finish_array(array, count);
    }

    /// The group has read up to this entry.
    fn advance(&mut self, id: StreamId) {
        if id <= self.group.last_id {
            return;
        }
        match self.group.entries_read {
            Some(read) if !self.entries.has_gaps_from(id) => {
                self.group.entries_read = Some(read.wrapping_add(1));
            }
            _ if self.entries.added() > 0 => {
                self.group.entries_read = self.entries.added_up_to(id);
            }
            _ => {}
        }
        self.group.last_id = id;
    }

    /// Repeats what the consumer has and has not acknowledged, from `start` on.
    fn repeat(&mut self, start: StreamId, count: u64, out: &mut Encoder<'_>) {
        let consumer = self.group.consumer(self.slot);
        let ids = consumer.pending_ids(start).take(at_most(count));
        let ids: Vec<StreamId> = ids.collect();
        out.array(ids.len());
        for id in ids {
            let Some(entry) = self.entries.get(id) else {
                // It was deleted while it was pending.
                out.array(2);
                write_id(id, out);
                out.null_array();
                continue;
            };
            write_entry(entry, out);
            if let Some(pending) = self.group.pending(id) {
                let again = Pending {
                    delivered_ms: self.now_ms,
                    deliveries: pending.deliveries.wrapping_add(1),
                    ..pending
                };
                self.group.set_pending(id, again);
            }
        }
    }
}
