//! Guard: which requests are answered.
//!
//! A page of another site can make a browser send requests here, and a name of its own can be made to lead here (DNS
//! rebinding). So the name in `Host` must be one that is ours: an address, which no name server can bend, `localhost`, or
//! one of `--hosts`. `Origin` must be that of this page wherever a browser sends one. What changes or searches is sent as
//! JSON, which no form of another site can send. A token, where one is set, is compared by its digest.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use contract::digest::Digest;

use super::answer::Refusal;

/// What a request has to prove before it is answered.
#[derive(Debug)]
pub struct Guard {
    hosts: Vec<String>,
    token: Option<Digest>,
}

impl Guard {
    pub fn new(hosts: &[String], token: Option<Digest>) -> Self {
        Self {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            token,
        }
    }

    /// Whether a request may be looked at: it is for us, and from our page or from no page.
    pub fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = text(headers, HOST).unwrap_or_default();
        if !self.is_ours(host) {
            let advice = "this name is not one of the page; name it in --hosts, or open the page by its address";
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, advice));
        }
        let foreign = || {
            Refusal::new(
                StatusCode::FORBIDDEN,
                "a page of another site has sent this",
            )
        };
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().map_err(|_| foreign())?;
            let (_, authority) = origin.split_once("://").ok_or_else(foreign)?;
            // Behind a proxy the browser knows another name than the one that is asked here.
            let is_named = self.hosts.contains(&name_of(authority));
            if !is_named && !authority.eq_ignore_ascii_case(host) {
                return Err(foreign());
            }
        }
        if !path.starts_with("/api/") {
            return Ok(());
        }
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Err(foreign());
        }
        if *method == Method::POST && !is_json(headers) {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send application/json",
            ));
        }
        self.check_token(headers)
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = text(headers, AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let given = Digest::of(given.unwrap_or_default().as_bytes());
        match is_same(given.as_str().as_bytes(), token.as_str().as_bytes()) {
            true => Ok(()),
            false => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "the token is wrong or missing",
            )),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = name_of(host);
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }
}

/// A host without its port; nothing where what stands for a port is none.
fn name_of(host: &str) -> String {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or_default(),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port != digits);
    match is_port {
        true => name.to_ascii_lowercase(),
        false => String::new(),
    }
}

fn text(headers: &HeaderMap, name: axum::http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = text(headers, CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// Takes the same time wherever they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let different = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn code(token: Option<&str>, method: &Method, headers: &[(&'static str, &str)]) -> u16 {
        let digest = token.map(|token| Digest::of(token.as_bytes()));
        let guard = Guard::new(&["Ebb.example".to_owned()], digest);
        let headers = headers.iter().map(|(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        match guard.check(method, "/api/x", &headers.collect()) {
            Ok(()) => 200,
            Err(refusal) => refusal.status.as_u16(),
        }
    }

    #[test]
    fn a_name_that_somebody_else_made_lead_here_is_refused() {
        for host in [
            "127.0.0.1:8642",
            "[::1]:8642",
            "localhost",
            "LOCALHOST:1",
            "10.0.0.7",
            "ebb.example:80",
        ] {
            assert_eq!(code(None, &Method::GET, &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8642",
            "",
            "[evil]",
            "127.0.0.1.evil.example",
            "127.0.0.1:8642.evil.example",
            "localhost:8642:1",
            "[::1].evil.example",
            "[::1]8642",
        ] {
            assert_eq!(code(None, &Method::GET, &[("host", host)]), 421, "{host}");
        }
        assert_eq!(code(None, &Method::GET, &[]), 421);
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let host = ("host", "127.0.0.1:1");
        let json = ("content-type", "application/json; charset=utf-8");
        let post =
            |more: &[(&'static str, &str)]| code(None, &Method::POST, &[&[host], more].concat());
        assert_eq!(post(&[json]), 200);
        assert_eq!(post(&[json, ("origin", "http://127.0.0.1:1")]), 200);
        assert_eq!(post(&[json, ("origin", "https://ebb.example")]), 200);
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:2",
            "http://127.0.0.1",
        ] {
            assert_eq!(post(&[json, ("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(post(&[json, ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(post(&[json, ("sec-fetch-site", "same-site")]), 403);
        assert_eq!(post(&[("content-type", "text/plain")]), 415);
        assert_eq!(post(&[]), 415);
    }

    #[test]
    fn a_token_is_asked_for_where_there_is_one() {
        let get = |headers: &[(&'static str, &str)]| {
            let host = [("host", "localhost")];
            code(Some(TOKEN), &Method::GET, &[&host, headers].concat())
        };
        assert_eq!(get(&[("authorization", &format!("Bearer {TOKEN}"))]), 200);
        for wrong in [
            "",
            "Bearer ",
            "Bearer 0123456789abcdeg",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcde",
        ] {
            assert_eq!(get(&[("authorization", wrong)]), 401, "{wrong}");
        }
        assert_eq!(get(&[]), 401);
    }
}
