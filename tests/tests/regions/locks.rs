//! Fencing tokens of keys that move.

use bailiwick_tests::client::Value;
use bailiwick_tests::regions::{Layout, World};

use super::expect;

#[test]
fn the_tokens_of_a_lock_grow_wherever_it_is_served() {
    let world = World::start(&Layout::three(1)).unwrap();
    // The groups have counted to different numbers.
    for number in 0..20 {
        let line = format!("SET other:{number} x FENCE");
        expect(&world, "eu", &line, &Value::Integer(number + 1));
    }
    let mut last = 0;
    let mut take = |region: &str| {
        let mut client = world.connect(region).unwrap();
        // Where the key went its token went, too.
        if last > 0 {
            assert_eq!(client.run("FENCE shop:lock").unwrap(), Value::Integer(last));
        }
        assert_eq!(
            client.run("SET shop:lock x NX FENCE").unwrap() == Value::Null,
            last > 0,
            "it is held"
        );
        let token = client.run("SET shop:lock x FENCE").unwrap();
        let token = token.as_integer().unwrap_or_else(|| panic!("{token:?}"));
        assert!(token > last, "{token} after {last}");
        last = token;
        assert_eq!(client.run("FENCE shop:lock").unwrap(), Value::Integer(last));
    };
    take("us");
    expect(&world, "eu", "PREFIX CREATE shop: GROUP us", &Value::ok());
    world.wait_for_owner("shop:", "us").unwrap();
    take("ap");
    for (group, from) in [("ap", "eu"), ("eu", "us"), ("us", "ap")] {
        let order = format!("PREFIX MOVE shop: GROUP {group}");
        expect(&world, from, &order, &Value::ok());
        world.wait_for_owner("shop:", group).unwrap();
        take(from);
    }
    expect(&world, "us", "PREFIX DROP shop:", &Value::ok());
    world.wait_until_gone("shop:").unwrap();
    take("eu");
}
