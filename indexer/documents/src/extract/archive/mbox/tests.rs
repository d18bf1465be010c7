//! Which lines begin a mail, and what mails are called.

use crate::extract::archive::tests::{ids_of, messages};
use crate::extract::tests::{found, text};

#[test]
fn mails_of_a_mailbox_keep_their_ids_when_others_go() {
    let mail = |id: &str, text: &str| {
        format!(
            "From x Fri May 17\nMessage-ID: <{id}@host>\nSubject: s\n\n{text}\n>From quoted\n\n"
        )
    };
    let all = format!(
        "{}{}{}From x\nSubject: no id\n\nlast\n",
        mail("1", "one"),
        mail("2", "two\nFrom inside"),
        mail("2", "again")
    );
    let found = found("in.mbox", all.as_bytes());
    assert!(found.errors.is_empty(), "{}", messages(&found));
    let ids = ids_of(&found);
    assert_eq!(
        ids[..3],
        ["in.mbox!/1@host", "in.mbox!/2@host", "in.mbox!/2@host~2"]
    );
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[3].len(), "in.mbox!/".len() + 32);
    assert_eq!(
        text(&found.documents[1]),
        "# s\n\ntwo\nFrom inside\nFrom quoted"
    );
    let message = messages(&self::found("no.mbox", b"plain text\n"));
    assert!(
        message.contains("does not begin with a line `From `"),
        "{message}"
    );
}

#[test]
fn a_sentence_does_not_begin_a_mail() {
    let mailbox = b"From a@x Mon Jan  1 00:00:00 2024\nSubject: one\n\nbody\n\n\
        From time to time, on Mon Jan 1, somebody writes.\n\n\
        From a to b in Jan 2024 at 10:00\n\n\
        From b at x.org  Tue Feb 27 09:30:00 2024\nSubject: two\n\nmore\n\n\
        From - Wed Mar 06 10:00:00 +0000 2024\nSubject: three\n\nlast\n";
    let found = found("x.mbox", mailbox);
    let titles: Vec<_> = found
        .documents
        .iter()
        .map(|document| document.title.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(titles, ["one", "two", "three"]);
    let first = text(&found.documents[0]);
    assert!(first.contains("From time to time"), "{first}");
    assert!(first.ends_with("in Jan 2024 at 10:00"), "{first}");
}

#[test]
fn a_mail_begins_where_a_header_stands_below_a_line_without_a_date() {
    // Headers lie beyond the end of what is read at once.
    let long = "x".repeat((64 << 10) - 80);
    for line in [
        "From b@x Mon, 01 Jan 2024 10:00:00 +0000",
        "From b@x Mon Jan  1 10:00:00",
        "From b@x 2024-01-01T10:00:00Z",
        "From b",
    ] {
        for filled in 0..40 {
            let filled = &long[filled..];
            let mailbox = format!(
                "From a\nSubject: one\n\n{filled}\n\n{line}\nX-Mailer: m\nSubject: two\n\n\
                 From time to time\nsomebody writes: this\n\nFrom\nX: y\n\n\
                 From the page\nhttps://x.y\n\nFrom here\n: on\n"
            );
            let found = found("x.mbox", mailbox.as_bytes());
            let [one, two] = found.documents.as_slice() else {
                panic!("{line}: {} mails", found.documents.len())
            };
            assert_eq!(text(one), format!("# one\n\n{filled}"), "{line}");
            let expected = "# two\n\nFrom time to time\nsomebody writes: this\n\n\
                From\nX: y\n\nFrom the page\nhttps://x.y\n\nFrom here\n: on";
            assert_eq!(text(two), expected, "{line}");
        }
    }
}

#[test]
fn mails_without_an_empty_line_between_them_are_two() {
    let date = "Mon Jan  1 10:00:00 2024";
    let mailbox = format!(
        "From a@x {date}\nSubject: one\n\nbody\nFrom b@x {date}\nSubject: two\n\n\
         From me\nFrom c@x {date}\nsaid nothing\nFrom now on\nNote: this\n"
    );
    let found = found("x.mbox", mailbox.as_bytes());
    let texts: Vec<_> = found.documents.iter().map(text).collect();
    let second =
        format!("# two\n\nFrom me\nFrom c@x {date}\nsaid nothing\nFrom now on\nNote: this");
    assert_eq!(texts, ["# one\n\nbody", second.as_str()]);
}

#[test]
fn a_sentence_above_a_line_with_a_colon_begins_no_mail() {
    let sentences = "From me\nNote: bring the keys\n\n\
        From now on\nSubject: to change\n\n\
        From joe@x.org I heard:\nTo: nobody\n\n\
        From a to b on Mon Jan 1 2024\nDate: unknown\n\n\
        From me@x.org\nNote: this\n\n\
        From that Monday, Mon Jan 1 10:00:00 2024 as I was told, all went well";
    let date = "Mon Jan  1 10:00:00";
    for line in [
        format!("From a@x {date} 2024"),
        format!("From a@x {date} +0100 2024"),
        format!("From a@x {date} 2024 +0100"),
        format!("From a@x {date} PST 2024"),
        format!("From \"A B\"@x {date} 2024 remote from y"),
        format!("From - {date} 2024"),
        format!("From a at x.org  {date} 2024"),
    ] {
        let mailbox = format!(
            "{line}\nSubject: one\n\n{sentences}\n\n{line}\nNote: a first header of its own\nSubject: two\n\nend\n"
        );
        let found = found("x.mbox", mailbox.as_bytes());
        let texts: Vec<_> = found.documents.iter().map(text).collect();
        let first = format!("# one\n\n{sentences}");
        assert_eq!(texts, [first.as_str(), "# two\n\nend"], "{line}");
    }
}

#[test]
fn an_address_above_a_header_of_mails_begins_a_mail_among_those_with_a_date() {
    for line in [
        "From b@x",
        "From b@x Mon, 01 Jan 2024 10:00:00 +0000",
        "From b@x 2024-01-01T10:00:00Z",
        "From b@x Mon Jan  1 10:00:00",
    ] {
        let mailbox = format!(
            "From a@x Mon Jan  1 10:00:00 2024\nSubject: one\n\nbody\n\n\
             {line}\nreceived: from y\nSubject: two\n\nmore\n"
        );
        let found = found("x.mbox", mailbox.as_bytes());
        let texts: Vec<_> = found.documents.iter().map(text).collect();
        assert_eq!(texts, ["# one\n\nbody", "# two\n\nmore"], "{line}");
    }
}
