//! Tests for clients that follow the value of a parameter.

use super::*;

const FOLLOW: OpenMode = OpenMode { append: true, ..OpenMode::READ };

#[test]
fn reads_of_a_followed_parameter_wait_for_the_next_value() {
    static DUTY: Value<u8> = Value::new(50);
    static SECRET: Value<u8> = Value::new(50);
    static ROOT: Dir = Dir::new(&[
        file("duty", &Param::new(&DUTY).range(1, 99)),
        file("secret", &Param::with_info(&SECRET, ParamInfo::new().write_only())),
    ]);
    let tree = Tree::new(&ROOT);
    let f = open(&tree, "duty", FOLLOW);
    assert!(tree.may_block(&f));
    assert_eq!(read(&tree, f, 0, 64), text("50\n"));
    assert_eq!(read(&tree, f, 3, 64), text(""), "the mark after the value");
    assert_eq!(read(&tree, f, 3, 64), None);
    DUTY.set(60);
    DUTY.set(70);
    assert_eq!(read(&tree, f, 3, 64), text("70\n"), "only the last value is delivered");
    echo(&tree, "70\n", "duty").unwrap();
    assert_eq!(read(&tree, f, 6, 64), text(""));
    assert_eq!(read(&tree, f, 6, 1), text("7"), "a value that is set again is delivered");
    assert_eq!(read(&tree, f, 7, 64), text("0\n"));
    assert_eq!(read(&tree, f, 0, 64), Some(Err(Error::Seek)));
    echo(&tree, "100\n", "duty").unwrap_err();
    assert_eq!((read(&tree, f, 9, 64), read(&tree, f, 9, 64)), (text(""), None));

    let secret = open(&tree, "secret", FOLLOW);
    assert_eq!((read(&tree, secret, 0, 8), read(&tree, secret, 0, 8)), (text(""), text("")));
}

#[test]
fn reads_of_other_open_modes_never_wait() {
    static DUTY: Value<u8> = Value::new(50);
    static ROOT: Dir = Dir::new(&[file("duty", &Param::new(&DUTY))]);
    let tree = Tree::new(&ROOT);
    for mode in
        [OpenMode::READ, OpenMode::READ_WRITE, OpenMode { append: true, ..OpenMode::READ_WRITE }]
    {
        let f = open(&tree, "duty", mode);
        assert!(!tree.may_block(&f));
        assert_eq!(read(&tree, f, 0, 8), text("50\n"));
        for _ in 0..4 {
            assert_eq!(read(&tree, f, 3, 8), text(""), "{mode:?}");
        }
        tree.close(&f);
    }
}
