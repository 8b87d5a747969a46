//! The sleeper under all interleavings: nobody sleeps over something that was published.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p quorate-engine --test loom_sleeper --release`.
#![cfg(loom)]

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;
use quorate_engine::sync::mailbox;
use quorate_engine::sync::sleeper::Sleeper;

/// What a host adds: a wake-up that is remembered.
#[derive(Default)]
struct Bed {
    sleeper: Sleeper,
    is_woken: Mutex<bool>,
    woken: Condvar,
}

impl Bed {
    fn wake(&self) {
        if self.sleeper.must_wake() {
            *self.is_woken.lock().unwrap() = true;
            self.woken.notify_one();
        }
    }

    fn sleep_unless(&self, has_work: impl FnOnce() -> bool) {
        self.sleeper.announce();
        if !has_work() {
            let mut is_woken = self.is_woken.lock().unwrap();
            while !*is_woken {
                is_woken = self.woken.wait(is_woken).unwrap();
            }
            *is_woken = false;
        }
        self.sleeper.retract();
    }
}

#[test]
fn each_record_reaches_an_owner_that_sleeps_between_them() {
    // A lost wake-up shows as a deadlock, which loom reports.
    loom::model(|| {
        let (mut producer, mut consumer) = mailbox::channel(mailbox::CAPACITY_MIN);
        let bed = Arc::new(Bed::default());
        let waker = Arc::clone(&bed);
        let sender = thread::spawn(move || {
            for number in 1..=2_u8 {
                producer.try_push(&[&[number]]).unwrap();
                waker.wake();
            }
            producer
        });
        for number in 1..=2_u8 {
            while consumer.is_empty() {
                bed.sleep_unless(|| !consumer.is_empty());
            }
            assert_eq!(consumer.peek(), Some(&[number][..]));
            consumer.advance();
        }
        sender.join().unwrap();
    });
}

#[test]
fn two_wakers_and_a_sleeper_meet() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let bed = Arc::new(Bed::default());
        let ends: Vec<_> = (0..2).map(|_| mailbox::channel(mailbox::CAPACITY_MIN)).collect();
        let (producers, mut consumers): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        let senders: Vec<_> = producers
            .into_iter()
            .map(|mut producer| {
                let bed = Arc::clone(&bed);
                thread::spawn(move || {
                    producer.try_push(&[b"x"]).unwrap();
                    bed.wake();
                    producer
                })
            })
            .collect();
        let mut records = 0;
        while records < 2 {
            let found = consumers.iter_mut().map(|consumer| consumer.poll(1, |_| {})).sum::<usize>();
            records += found;
            if found == 0 {
                bed.sleep_unless(|| consumers.iter().any(|consumer| !consumer.is_empty()));
            }
        }
        for sender in senders {
            sender.join().unwrap();
        }
    });
}
