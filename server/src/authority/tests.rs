//! One group's view: where keys belong, and that steps are refused or repeated as they should be.

use super::*;

const HERE: GroupId = GroupId(0);
const THERE: GroupId = GroupId(1);

fn gone(prefix: &[u8], group: GroupId, epoch: u64) -> Place<'_> {
    Place::Gone {
        prefix,
        group: Some(group),
        epoch,
    }
}

fn copy(authority: &Authority) -> Authority {
    let mut bytes = Vec::new();
    authority.put_all(&mut bytes);
    let mut reader = crate::state::Reader::new(&bytes);
    let copy = Authority::take_all(&mut reader).expect("well formed");
    assert!(reader.is_done());
    copy.check_invariants();
    assert_eq!(copy.digest(), authority.digest());
    let mut again = Vec::new();
    copy.put_all(&mut again);
    assert_eq!(again, bytes);
    copy
}

#[test]
fn the_root_group_begins_with_everything_and_others_with_nothing() {
    let root = Authority::new(HERE);
    assert_eq!(root.place(b"any"), Place::Here);
    assert!(root.is_open());
    let other = Authority::new(THERE);
    let nowhere = Place::Gone {
        prefix: b"",
        group: None,
        epoch: 0,
    };
    assert_eq!(other.place(b"any"), nowhere);
    for authority in [root, other] {
        authority.check_invariants();
        copy(&authority);
    }
}

#[test]
fn a_prefix_is_served_until_it_is_frozen_and_gone_when_it_departed() {
    let mut source = Authority::new(HERE);
    assert_eq!(source.delegate(b"eu:", THERE), Ok(Effect::Split));
    assert_eq!(source.delegate(b"eu:", THERE), Ok(Effect::None));
    assert_eq!(source.place(b"eu:1"), Place::Here);
    assert_eq!(source.freeze(b"eu:", 2, 1), Ok(Effect::Freeze));
    assert_eq!(source.place(b"eu:1"), Place::Held { prefix: b"eu:" });
    assert_eq!(source.place(b"us:1"), Place::Here);
    assert_eq!(source.frozen(), Some(&b"eu:"[..]));
    assert_eq!(source.thaw(b"eu:", 2, 1), Ok(Effect::Thaw));
    assert_eq!(source.place(b"eu:1"), Place::Here);
    assert!(matches!(
        source.depart(b"eu:", 2, THERE),
        Err(Refusal::Phase(..))
    ));
    assert_eq!(source.freeze(b"eu:", 2, 2), Ok(Effect::Freeze));
    assert_eq!(
        source.thaw(b"eu:", 2, 1),
        Err(Refusal::Attempt(b"eu:".to_vec(), 2))
    );
    assert_eq!(source.depart(b"eu:", 2, THERE), Ok(Effect::Release));
    assert_eq!(source.depart(b"eu:", 2, THERE), Ok(Effect::None));
    assert_eq!(source.place(b"eu:1"), gone(b"eu:", THERE, 2));
    assert_eq!(source.settle(b"eu:", 2, THERE), Ok(Effect::None));
    assert_eq!(source.settle(b"eu:", 2, THERE), Ok(Effect::None));
    assert_eq!(source.place(b"eu:1"), gone(b"eu:", THERE, 2));
    source.check_invariants();
    copy(&source);
}

#[test]
fn of_two_claims_the_first_one_wins() {
    let mut owner = Authority::new(HERE);
    assert_eq!(owner.delegate(b"a:", THERE), Ok(Effect::Split));
    let refusal = owner.delegate(b"a:", GroupId(2)).expect_err("it is taken");
    assert_eq!(refusal.to_string(), "EXISTS Prefix 'a:' belongs to group 1");
    assert!(owner.delegate(b"", THERE).is_err());
    assert!(
        owner
            .delegate(&[b'x'; MAX_PREFIX_BYTES + 1], THERE)
            .is_err()
    );
    assert_eq!(owner.delegate(b"a:b:", HERE), Ok(Effect::Split));
}

#[test]
fn an_arriving_prefix_is_served_after_its_commit() {
    let mut destination = Authority::new(THERE);
    let none = Delegations::default;
    assert!(destination.commit(b"eu:", 2, 1, (0, 0), none()).is_err());
    assert_eq!(destination.arrive(b"eu:", 2, HERE, 1), Ok(Effect::Stage));
    assert_eq!(destination.arrive(b"eu:", 2, HERE, 1), Ok(Effect::None));
    assert_eq!(destination.place(b"eu:1"), gone(b"eu:", HERE, 1));
    assert_eq!(destination.expects_chunk(b"eu:", 2, 1, 0), Ok(true));
    destination.note_chunk(b"eu:", 3, 0, u64::MAX);
    assert_eq!(destination.expects_chunk(b"eu:", 2, 1, 0), Ok(false));
    assert!(destination.expects_chunk(b"eu:", 2, 1, 2).is_err());
    let refusal = destination.commit(b"eu:", 2, 1, (3, 1), none());
    assert!(matches!(refusal, Err(Refusal::Digest { count: 3, .. })));
    copy(&destination);
    assert_eq!(
        destination.commit(b"eu:", 2, 1, (3, u64::MAX), none()),
        Ok(Effect::Admit)
    );
    assert_eq!(
        destination.commit(b"eu:", 2, 1, (3, u64::MAX), none()),
        Ok(Effect::None)
    );
    assert_eq!(destination.place(b"eu:1"), Place::Here);
    assert!(matches!(destination.fence, Fence::One(_)));
    let committed = Err(Refusal::Committed(b"eu:".to_vec(), 2));
    assert_eq!(destination.abort(b"eu:", 2, 1), committed);
    assert_eq!(destination.arrive(b"eu:", 2, HERE, 9), committed);
    destination.check_invariants();
    copy(&destination);
}

#[test]
fn an_aborted_attempt_is_never_committed() {
    let mut destination = Authority::new(THERE);
    // It may be aborted before it begins.
    assert_eq!(destination.abort(b"eu:", 2, 1), Ok(Effect::None));
    assert!(destination.arrive(b"eu:", 2, HERE, 1).is_err());
    assert_eq!(destination.arrive(b"eu:", 2, HERE, 2), Ok(Effect::Stage));
    assert_eq!(destination.abort(b"eu:", 2, 1), Ok(Effect::None));
    assert_eq!(destination.abort(b"eu:", 2, 2), Ok(Effect::Unstage));
    assert_eq!(destination.abort(b"eu:", 2, 2), Ok(Effect::None));
    let commit = destination.commit(b"eu:", 2, 2, (0, 0), Delegations::default());
    assert_eq!(commit, Err(Refusal::Attempt(b"eu:".to_vec(), 2)));
    assert!(destination.expects_chunk(b"eu:", 2, 2, 0).is_err());
    copy(&destination);
    assert_eq!(destination.arrive(b"eu:", 2, HERE, 3), Ok(Effect::Stage));
}

#[test]
fn a_dropped_prefix_comes_back_at_a_higher_epoch() {
    let mut owner = Authority::new(HERE);
    assert_eq!(owner.delegate(b"a:", HERE), Ok(Effect::Split));
    assert_eq!(owner.drop_prefix(b"a:"), Ok(Effect::Merge));
    assert_eq!(owner.drop_prefix(b"a:"), Ok(Effect::None));
    assert!(owner.is_open());
    copy(&owner);
    assert_eq!(owner.retired().collect::<Vec<_>>(), [(&b"a:"[..], 2)]);
    assert_eq!(owner.delegate(b"a:", THERE), Ok(Effect::Split));
    let domain = owner.domain(b"a:").expect("it was created");
    assert_eq!(domain.owned.map(|owned| owned.epoch), Some(3));
    assert!(matches!(
        owner.drop_prefix(b"a:"),
        Err(Refusal::Moving(_, THERE))
    ));
    assert!(matches!(
        owner.drop_prefix(b"b:"),
        Err(Refusal::NoPrefix(_))
    ));
}

#[test]
fn delegations_go_along_with_their_parent() {
    let mut source = Authority::new(HERE);
    let _ = source.delegate(b"a:", THERE).expect("created");
    let _ = source.delegate(b"a:b:", HERE).expect("created");
    let _ = source.delegate(b"a:b:c:", HERE).expect("created");
    let _ = source.delegate(b"a:x:", HERE).expect("created");
    let _ = source.drop_prefix(b"a:x:").expect("dropped");
    let _ = source.freeze(b"a:", 2, 1).expect("frozen");
    assert!(matches!(
        source.delegate(b"a:y:", HERE),
        Err(Refusal::Stray(Stray::Held { .. }))
    ));
    assert!(matches!(
        source.drop_prefix(b"a:b:"),
        Err(Refusal::Stray(Stray::Held { .. }))
    ));
    let below = source.delegations_of(b"a:");
    assert_eq!(Delegations::decode(&below.encode()), Ok(below.clone()));
    assert_eq!(below.live.len(), 1);
    assert_eq!(*below.live[0].0, *b"a:b:");
    assert_eq!(below.retired, [(Box::from(&b"a:x:"[..]), 2)]);
    let mut destination = Authority::new(THERE);
    let _ = destination.arrive(b"a:", 2, HERE, 1).expect("staged");
    let commit = destination.commit(b"a:", 2, 1, (0, 0), below);
    assert_eq!(commit, Ok(Effect::Admit));
    let _ = source.depart(b"a:", 2, THERE).expect("departed");
    let _ = source.settle(b"a:", 2, THERE).expect("settled");
    source.check_invariants();
    destination.check_invariants();
    assert_eq!(destination.place(b"a:1"), Place::Here);
    assert_eq!(destination.place(b"a:b:1"), gone(b"a:b:", HERE, 1));
    assert_eq!(source.place(b"a:b:1"), Place::Here);
    assert_eq!(source.place(b"a:b:c:1"), Place::Here);
    assert_eq!(source.place(b"a:1"), gone(b"a:", THERE, 2));
    // The second level still belongs to the owner of the first one.
    assert_eq!(source.delegated().count(), 2);
    assert_eq!(destination.delegate(b"a:x:", THERE), Ok(Effect::Split));
    let recreated = destination.domain(b"a:x:").and_then(|domain| domain.owned);
    assert_eq!(recreated.map(|owned| owned.epoch), Some(3));
    copy(&source);
    copy(&destination);
}

#[test]
fn a_prefix_on_its_way_home_follows_when_its_parent_moves() {
    let mut first = Authority::new(HERE);
    let _ = first.delegate(b"a:", HERE).expect("created");
    let _ = first.delegate(b"a:b:", GroupId(2)).expect("created");
    let _ = first.freeze(b"a:b:", 2, 1).expect("frozen");
    let _ = first.depart(b"a:b:", 2, GroupId(2)).expect("departed");
    let _ = first.settle(b"a:b:", 2, GroupId(2)).expect("settled");
    assert_eq!(first.drop_prefix(b"a:b:"), Ok(Effect::None));
    let _ = first.relocate(b"a:", THERE).expect("moving");
    let _ = first.freeze(b"a:", 2, 1).expect("frozen");
    let below = first.delegations_of(b"a:");
    let mut second = Authority::new(THERE);
    let _ = second.arrive(b"a:", 2, HERE, 1).expect("staged");
    let _ = second.commit(b"a:", 2, 1, (0, 0), below).expect("here");
    let _ = first.depart(b"a:", 2, THERE).expect("departed");
    // It comes to the old home first.
    assert_eq!(second.settle(b"a:b:", 3, HERE), Ok(Effect::None));
    assert_eq!(second.settle(b"a:b:", 3, HERE), Ok(Effect::None));
    let moving = second.domain(b"a:b:").and_then(|domain| domain.delegated);
    let moving = moving.and_then(|delegated| delegated.moving);
    let expected = Moving {
        to: THERE,
        epoch: 4,
        drops: true,
    };
    assert_eq!(moving, Some(expected));
    let _ = second.arrive(b"a:b:", 4, HERE, 1).expect("staged");
    let none = Delegations::default();
    let _ = second.commit(b"a:b:", 4, 1, (0, 0), none).expect("here");
    assert_eq!(second.settle(b"a:b:", 4, THERE), Ok(Effect::Merge));
    first.check_invariants();
    second.check_invariants();
}

#[test]
fn an_order_of_a_move_that_is_over_is_refused_by_who_knows() {
    let mut owner = Authority::new(HERE);
    let _ = owner.delegate(b"a:", THERE).expect("created");
    let _ = owner.freeze(b"a:", 2, 1).expect("frozen");
    let _ = owner.depart(b"a:", 2, THERE).expect("departed");
    let _ = owner.settle(b"a:", 2, THERE).expect("settled");
    // A move to here that was over before: its arrival comes late.
    let over = Err(Refusal::Committed(b"a:".to_vec(), 2));
    assert_eq!(owner.arrive(b"a:", 2, THERE, 9), over);
    let _ = owner.relocate(b"a:", HERE).expect("decided");
    assert_eq!(owner.arrive(b"a:", 3, THERE, 1), Ok(Effect::Stage));
    owner.check_invariants();
}

/// Found by the simulation of several groups (`--groups 3 --first 8`): the source of a prefix that
/// was being dropped was late to hear that it was at home, and meanwhile the parent went on.
#[test]
fn what_was_committed_and_dropped_is_not_denied_when_the_parent_has_gone() {
    let none = Delegations::default;
    let mut parent = Authority::new(HERE);
    let _ = parent.delegate(b"a:", HERE).expect("created");
    let _ = parent.delegate(b"a:b:", THERE).expect("created");
    let _ = parent.freeze(b"a:b:", 2, 1).expect("frozen");
    let _ = parent.depart(b"a:b:", 2, THERE).expect("departed");
    let _ = parent.settle(b"a:b:", 2, THERE).expect("settled");
    let _ = parent.drop_prefix(b"a:b:").expect("on its way home");
    let _ = parent.arrive(b"a:b:", 3, THERE, 7).expect("staged");
    let _ = parent.commit(b"a:b:", 3, 7, (0, 0), none()).expect("here");
    assert_eq!(parent.settle(b"a:b:", 3, HERE), Ok(Effect::Merge));
    let committed = Err(Refusal::Committed(b"a:b:".to_vec(), 3));
    assert_eq!(parent.abort(b"a:b:", 3, 7), committed);
    let _ = parent.relocate(b"a:", THERE).expect("moving");
    let _ = parent.freeze(b"a:", 2, 8).expect("frozen");
    let below = parent.delegations_of(b"a:");
    let _ = parent.depart(b"a:", 2, THERE).expect("departed");
    assert_eq!(parent.abort(b"a:b:", 3, 7), committed);
    copy(&parent);
    // Nor when the parent comes back.
    let _ = parent.arrive(b"a:", 3, THERE, 9).expect("staged");
    let _ = parent.commit(b"a:", 3, 9, (0, 0), below).expect("here");
    assert_eq!(parent.abort(b"a:b:", 3, 7), committed);
    assert_eq!(parent.place(b"a:b:1"), Place::Here);
    let _ = parent.delegate(b"a:b:", THERE).expect("created anew");
    assert_eq!(parent.abort(b"a:b:", 3, 7), committed);
    parent.check_invariants();
}

/// The same for a prefix that has gone on by itself, and whose parent comes later.
#[test]
fn what_has_gone_on_is_not_denied_when_the_parent_comes() {
    let none = Delegations::default;
    let mut group = Authority::new(THERE);
    let _ = group.arrive(b"a:b:", 2, HERE, 1).expect("staged");
    let _ = group.commit(b"a:b:", 2, 1, (0, 0), none()).expect("here");
    let _ = group.leave(b"a:b:", 3, GroupId(2)).expect("leaving");
    let _ = group.freeze(b"a:b:", 3, 1).expect("frozen");
    let _ = group.depart(b"a:b:", 3, GroupId(2)).expect("departed");
    let _ = group.arrive(b"a:", 5, HERE, 1).expect("staged");
    let _ = group.commit(b"a:", 5, 1, (0, 0), none()).expect("here");
    let committed = Err(Refusal::Committed(b"a:b:".to_vec(), 2));
    assert_eq!(group.abort(b"a:b:", 2, 1), committed);
    group.check_invariants();
}

#[test]
fn what_has_gone_is_a_hint_and_no_fence() {
    let mut group = Authority::new(THERE);
    let none = Delegations::default;
    let _ = group.arrive(b"a:b:", 2, HERE, 1).expect("staged");
    let _ = group.commit(b"a:b:", 2, 1, (0, 0), none()).expect("here");
    let _ = group.leave(b"a:b:", 3, HERE).expect("leaving");
    let _ = group.freeze(b"a:b:", 3, 1).expect("frozen");
    let _ = group.depart(b"a:b:", 3, HERE).expect("departed");
    assert_eq!(group.place(b"a:b:1"), gone(b"a:b:", HERE, 3));
    // Its owner dropped it since, and now the parent prefix comes here.
    let _ = group.arrive(b"a:", 5, HERE, 1).expect("staged");
    let _ = group.commit(b"a:", 5, 1, (0, 0), none()).expect("here");
    assert_eq!(group.place(b"a:b:1"), Place::Here);
    group.check_invariants();
}

#[test]
fn groups_have_unique_names_and_counted_numbers() {
    let member = |node: u64| Member {
        node: bailiwick_replication::NodeId(node),
        disk: node * 7,
    };
    let mut root = Authority::new(HERE);
    let created = root.create_group(b"eu", &[member(2), member(1)]);
    assert_eq!(created, Ok(GroupId(1)));
    assert_eq!(root.create_group(b"us", &[member(3)]), Ok(GroupId(2)));
    let again = root.create_group(b"eu", &[member(1), member(2)]);
    assert_eq!(again, Ok(GroupId(1)));
    assert!(matches!(
        root.create_group(b"eu", &[member(3)]),
        Err(Refusal::GroupExists(_, GroupId(1)))
    ));
    assert!(root.create_group(b"root", &[member(3)]).is_err());
    assert!(root.create_group(b"", &[member(3)]).is_err());
    assert!(root.create_group(b"x", &[]).is_err());
    assert!(root.create_group(b"x", &[member(1), member(1)]).is_err());
    assert_eq!(root.set_members(GroupId(1), 2, &[member(4)]), Ok(()));
    assert_eq!(root.set_members(GroupId(1), 1, &[member(5)]), Ok(()));
    let (_, record) = root.groups().nth(1).expect("created");
    assert_eq!(
        (record.configuration, &record.members[..]),
        (2, &[member(4)][..])
    );
    // The same request arrives once more, after the members have changed.
    let again = root.create_group(b"eu", &[member(1), member(2)]);
    assert_eq!(again, Ok(GroupId(1)));
    assert!(root.set_members(GroupId(9), 1, &[member(5)]).is_err());
    copy(&root);
    assert!(
        Authority::new(THERE)
            .create_group(b"x", &[member(1)])
            .is_err()
    );
}
