use super::*;

fn op<O>(op: O, called: u64, returned: impl Into<Option<u64>>) -> Operation<O> {
    Operation { op, called, returned: returned.into() }
}

fn check(history: &[Operation<CasOp>]) -> bool {
    is_linearizable(&CasRegister, history, 1_000_000).expect("decided")
}

#[test]
fn a_read_behind_a_write_must_see_it() {
    let write = op(CasOp::Write(1), 1, 2);
    assert!(check(&[write.clone(), op(CasOp::Read(Some(1)), 3, 4)]));
    assert!(!check(&[write, op(CasOp::Read(None), 3, 4)]));
}

#[test]
fn a_read_beside_a_write_may_see_it_or_not_but_not_go_back() {
    let write = op(CasOp::Write(1), 1, 10);
    for seen in [None, Some(1)] {
        assert!(check(&[write.clone(), op(CasOp::Read(seen), 2, 3)]));
    }
    assert!(check(&[write.clone(), op(CasOp::Read(None), 2, 3), op(CasOp::Read(Some(1)), 4, 5)]));
    assert!(!check(&[write, op(CasOp::Read(Some(1)), 2, 3), op(CasOp::Read(None), 4, 5)]));
}

#[test]
fn an_open_write_may_take_effect_late_or_never_but_once() {
    let open = op(CasOp::Write(1), 1, None);
    let other = op(CasOp::Write(2), 2, 3);
    let read = |seen, called| op(CasOp::Read(Some(seen)), called, called + 1);
    assert!(check(&[open.clone(), other.clone(), read(2, 4)]));
    assert!(check(&[open.clone(), other.clone(), read(2, 4), read(1, 6), read(1, 8)]));
    assert!(!check(&[open, other, read(1, 4), read(2, 6), read(1, 8)]));
}

#[test]
fn a_failed_swap_says_that_the_value_was_another() {
    let write = op(CasOp::Write(1), 1, 2);
    let swap = |has_set| op(CasOp::CompareAndSet { from: 1, to: 2, has_set }, 3, 4);
    let read = |seen| op(CasOp::Read(Some(seen)), 5, 6);
    assert!(check(&[write.clone(), swap(Some(true)), read(2)]));
    assert!(!check(&[write.clone(), swap(Some(false)), read(1)]));
    assert!(check(&[write, swap(None), read(2)]));
}

#[test]
fn a_search_that_takes_too_long_gives_no_verdict() {
    let history = [op(CasOp::Write(1), 1, 2), op(CasOp::Read(Some(1)), 3, 4)];
    assert_eq!(is_linearizable(&CasRegister, &history, 1), Err(Undecided { operations: 2, steps: 1 }));
}

#[test]
fn both_formats_are_read() {
    let log = "INFO  jepsen.util - Using seed\nINFO  jepsen.util - 0\t:invoke\t:write\t3\n\
               INFO  jepsen.util - 1\t:invoke\t:read\tnil\nINFO  jepsen.util - 0\t:info\t:write\t:timed-out\n\
               INFO  jepsen.util - 1\t:ok\t:read\t3\nINFO  jepsen.util - 2\t:invoke\t:cas\t[3 4]\n";
    let Recorded::Register(operations) = parse(log).expect("a history") else { panic!("a register") };
    let swap = CasOp::CompareAndSet { from: 3, to: 4, has_set: None };
    let expected = [op(CasOp::Write(3), 2, None), op(CasOp::Read(Some(3)), 3, 5), op(swap, 6, None)];
    assert_eq!(operations, expected);

    let maps = "{:process 0, :type :invoke, :f :append, :key \"7\", :value \"x, y\"}\n\
                {:process 0, :type :ok, :f :append, :key \"7\", :value \"x, y\"}\n\
                {:process 1, :type :invoke, :f :get, :key \"7\", :value nil}\n\
                {:process 1, :type :ok, :f :get, :key \"7\", :value \"x, y\"}\n";
    let recorded = parse(maps).expect("a history");
    let Recorded::Store(keys) = &recorded else { panic!("a store") };
    assert_eq!(keys["7"], [op(AppendOp::Append("x, y".into()), 1, 2), op(AppendOp::Get("x, y".into()), 3, 4)]);
    assert_eq!(recorded.check(100), Ok(true));
}

#[test]
fn what_is_no_history_is_refused_with_its_line() {
    assert_eq!(parse("nothing\n"), Err(FormatError::Empty));
    for (text, line) in [
        ("INFO  jepsen.util - 0\t:invoke\t:write\tx\n", 1),
        ("INFO  jepsen.util - 0\t:ok\t:read\t1\n", 1),
        ("{:process 0, :type :invoke, :f :get, :key \"7\", :value nil}\n{:process 0}\n", 2),
        (
            "{:process 0, :type :invoke, :f :get, :key \"7\", :value nil}\n{:process 0, :type :invoke, :f :get, :key \"7\", :value nil}\n",
            2,
        ),
    ] {
        assert!(matches!(parse(text), Err(FormatError::Line { line: at, .. }) if at == line), "{text}");
    }
}

/// `:type :fail` begins with the name of the field behind it.
#[test]
fn what_failed_is_read_too() {
    let text = "{:process 0, :type :invoke, :f :put, :key \"k\", :value \"a\"}\n\
                {:process 0, :type :fail, :f :put, :key \"k\", :value \"a\"}\n\
                {:process 0, :type :invoke, :f :get, :key \"k\", :value \"\"}\n\
                {:process 0, :type :ok, :f :get, :key \"k\", :value \"a\"}\n";
    let recorded = parse(text).expect("it is a history");
    assert_eq!((recorded.len(), recorded.check(1_000)), (1, Ok(false)), "it was read and never written");
}
