//! Mails that break the rules of MIME.

use crate::extract::tests::{found, text};

const HEAD: &str = "From: a@x\nSubject: s\nMIME-Version: 1.0\n";

fn texts(mail: &str) -> Vec<String> {
    let found = found("x.eml", mail.as_bytes());
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    found
        .documents
        .iter()
        .map(|document| text(document).to_owned())
        .collect()
}

#[test]
fn a_mail_that_was_cut_is_decoded() {
    let plain = "Content-Type: text/plain; charset=\"gb2312\"\n\
                 Content-Transfer-Encoding: quoted-printable\n\n=B4=CE=A4=\n=CE and words";
    let nested = format!(
        "{HEAD}Content-Type: multipart/report;\n\tboundary=\"o'uter\"\n\n--o'uter\n\
         Content-Type: multipart/alternative; boundary=inner\n\n--inner\n{plain}"
    );
    assert_eq!(texts(&nested), ["# s\n\nFrom: a@x\n\n次の and words"]);
    // 6 bytes, and a digit of the next one.
    let base64 = format!(
        "{HEAD}Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: base64\n\nw7xiZXI\n="
    );
    assert_eq!(texts(&base64), ["# s\n\nFrom: a@x\n\nüber"]);
    let page = format!(
        "{HEAD}Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/html; charset=utf-8\n\
         Content-Transfer-Encoding: quoted-printable\n\n<h1>gr=C3=BCn</h1>\n<p>cut"
    );
    assert_eq!(texts(&page), ["# s\n\nFrom: a@x\n\n# grün\n\ncut"]);
}

#[test]
fn a_part_that_is_not_closed_ends_where_the_one_around_it_goes_on() {
    for end in ["--outer--\n", "--outer--", ""] {
        let mail = format!(
            "{HEAD}Content-Type: multipart/mixed; boundary=\"outer\"\n\n--outer\n\
             Content-Type: multipart/alternative; boundary=\"inner\"\n\n--inner\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
             gr=C3=BCn\n--outer\nContent-Type: text/plain; charset=utf-8; name=a.txt\n\
             Content-Disposition: attachment; filename=a.txt\n\nattached\n{end}"
        );
        assert_eq!(
            texts(&mail),
            ["# s\n\nFrom: a@x\n\ngrün", "attached"],
            "{end}"
        );
    }
}

#[test]
fn signs_that_an_encoding_does_not_know_cost_no_text() {
    let quoted = format!(
        "{HEAD}Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
         <p>gr=C3=BCn, a==b, 50=, =zz and =\n= \nmore, ={}far</p>\n",
        " ".repeat(100)
    );
    assert_eq!(
        texts(&quoted),
        ["# s\n\nFrom: a@x\n\ngrün, a==b, 50=, =zz and more, = far"]
    );
    let base64 = format!(
        "{HEAD}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n\
         w7xi*ZXI=\nIHRl~~eHQ=\n"
    );
    assert_eq!(texts(&base64), ["# s\n\nFrom: a@x\n\nüber text"]);
}
