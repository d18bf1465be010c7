//! The nats-jetstream scaler: what KEDA reads of a consumer from the monitoring endpoint of one server.
//!
//! In a cluster the scaler looks for the leader of the consumer first, by the names of the servers; that is not played.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::time::timeout;

use super::scaled_object::Trigger;

/// `KEDA_HTTP_DEFAULT_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The scaler of one trigger, and what it remembers between two looks.
#[derive(Debug)]
pub(crate) struct Scaler {
    trigger: Trigger,
    endpoint: String,
    /// The stream as it was last seen. It stays when a later answer does not have it.
    stream: Value,
}

impl Scaler {
    /// `endpoint` is `host:port`, as `natsServerMonitoringEndpoint` is.
    pub(crate) fn new(trigger: &Trigger, endpoint: &str) -> Self {
        Self {
            trigger: trigger.clone(),
            endpoint: endpoint.to_owned(),
            stream: Value::Null,
        }
    }

    /// Jobs that wait or are not acknowledged. A scaler that fails is built anew and asked once more.
    pub(crate) async fn lag(&mut self) -> anyhow::Result<u64> {
        if let Ok(lag) = self.look().await {
            return Ok(lag);
        }
        self.stream = Value::Null;
        self.look().await
    }

    async fn look(&mut self) -> anyhow::Result<u64> {
        // Sorted and escaped as url.Values of Go does it.
        let account = self.trigger.account_id.replace('$', "%24");
        let path = format!("/jsz?acc={account}&config=true&consumers=true");
        // The status is not looked at: an answer counts if it is JSON.
        let answer = timeout(TIMEOUT, fixtures::http::answer(&self.endpoint, &path)).await;
        let (_, body) = answer.context("the monitoring endpoint does not answer")??;
        let answer: Value = serde_json::from_str(&body).context("the answer is no JSON")?;
        self.learn(&answer);
        self.lag_of_consumer()
    }

    fn learn(&mut self, answer: &Value) {
        let trigger = &self.trigger;
        let ours = list(&answer["account_details"])
            .iter()
            .filter(|details| is(trigger, details));
        let mut streams = ours.flat_map(|details| list(&details["stream_detail"]));
        if let Some(stream) = streams.find(|stream| stream["name"] == self.trigger.stream.as_str())
        {
            self.stream = stream.clone();
        }
    }

    fn lag_of_consumer(&self) -> anyhow::Result<u64> {
        let Trigger {
            stream, consumer, ..
        } = &self.trigger;
        let found = list(&self.stream["consumer_detail"])
            .iter()
            .find(|found| found["name"] == consumer.as_str())
            .with_context(|| format!("consumer `{consumer}` not found in stream `{stream}`"))?;
        let of = |key: &str| found[key].as_u64().unwrap_or_default();
        Ok(of("num_pending") + of("num_ack_pending"))
    }
}

/// Whether it is the account of a trigger, by its id or by its name.
fn is(trigger: &Trigger, details: &Value) -> bool {
    details["id"] == trigger.account_id.as_str() || details["name"] == trigger.account.as_str()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scaler() -> Scaler {
        let trigger = Trigger {
            account: "$G".to_owned(),
            account_id: "$G".to_owned(),
            stream: "JOBS".to_owned(),
            consumer: "embed-m-live".to_owned(),
            lag_threshold: 10,
            activation_lag_threshold: 0,
        };
        Scaler::new(&trigger, "nowhere:1")
    }

    fn answer(account: &Value, stream: &str, consumer: &str) -> Value {
        let consumer = json!({ "name": consumer, "num_pending": 3, "num_ack_pending": 4 });
        let streams = json!([
            { "name": "OTHER", "consumer_detail": [] },
            { "name": stream, "consumer_detail": [{ "name": "another" }, consumer] },
        ]);
        let mut details = account.clone();
        details["stream_detail"] = streams;
        json!({ "account_details": [{ "id": "OTHER", "name": "other" }, details] })
    }

    #[test]
    fn the_lag_is_what_waits_and_what_is_not_acknowledged() {
        for account in [json!({ "id": "$G" }), json!({ "name": "$G" })] {
            let mut scaler = scaler();
            scaler.learn(&answer(&account, "JOBS", "embed-m-live"));
            assert_eq!(scaler.lag_of_consumer().unwrap(), 7, "{account}");
        }
    }

    #[test]
    fn an_account_is_known_by_its_id_and_by_its_name_and_each_has_a_place_of_its_own() {
        let mut scaler = scaler();
        scaler.trigger.account_id = "A1".to_owned();
        for (id, name, known) in [("A1", "x", true), ("x", "$G", true), ("$G", "A1", false)] {
            let details = json!({ "id": id, "name": name });
            assert_eq!(is(&scaler.trigger, &details), known, "{details}");
        }
    }

    #[test]
    fn a_consumer_that_is_not_there_is_an_error() {
        let account = json!({ "id": "$G" });
        let answers = [
            json!({ "disabled": true }),
            answer(&json!({ "id": "A" }), "JOBS", "embed-m-live"),
            answer(&account, "OTHERS", "embed-m-live"),
            answer(&account, "JOBS", "embed-m-bulk"),
        ];
        for answer in answers {
            let mut scaler = scaler();
            scaler.learn(&answer);
            let error = scaler.lag_of_consumer().unwrap_err().to_string();
            assert!(
                error.contains("`embed-m-live` not found in stream `JOBS`"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_stream_that_is_gone_from_an_answer_keeps_its_last_lag_and_a_consumer_does_not() {
        let mut scaler = scaler();
        let account = json!({ "id": "$G" });
        scaler.learn(&answer(&account, "JOBS", "embed-m-live"));
        scaler.learn(&json!({ "disabled": true }));
        assert_eq!(scaler.lag_of_consumer().unwrap(), 7);
        scaler.learn(&answer(&account, "JOBS", "embed-m-bulk"));
        assert!(scaler.lag_of_consumer().is_err());
    }
}
