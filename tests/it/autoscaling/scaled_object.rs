//! The ScaledObject that is played: the part of its specification that decides about replicas, with KEDA's and
//! Kubernetes' defaults for what it leaves out.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

#[derive(Clone, Debug)]
pub(crate) struct ScaledObject {
    pub(crate) polling_interval: Duration,
    pub(crate) cooldown: Duration,
    pub(crate) initial_cooldown: Duration,
    pub(crate) idle: Option<u32>,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) scale_up: Rules,
    pub(crate) scale_down: Rules,
    pub(crate) triggers: Vec<Trigger>,
}

#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    /// Name of the account; empty if only its id is given.
    pub(crate) account: String,
    /// Its id; the name if none is given.
    pub(crate) account_id: String,
    pub(crate) stream: String,
    pub(crate) consumer: String,
    pub(crate) lag_threshold: u32,
    pub(crate) activation_lag_threshold: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Fallback {
    pub(crate) failure_threshold: u32,
    pub(crate) replicas: u32,
    pub(crate) behavior: FallbackBehavior,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FallbackBehavior {
    Static,
    CurrentReplicas,
    CurrentReplicasIfHigher,
    CurrentReplicasIfLower,
}

/// How fast the autoscaler may go into one direction.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) stabilization: Duration,
    pub(crate) policies: Vec<Policy>,
    pub(crate) select: Select,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) unit: Unit,
    pub(crate) value: u32,
    pub(crate) period: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Pods,
    Percent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// The policy that allows the largest change.
    Max,
    /// The policy that allows the smallest change.
    Min,
    Disabled,
}

impl ScaledObject {
    /// Reads the `spec` of a ScaledObject.
    pub(crate) fn read(spec: &Value) -> anyhow::Result<Self> {
        let behavior = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
        let triggers = spec["triggers"]
            .as_array()
            .context("spec.triggers is no list")?;
        let object = Self {
            polling_interval: seconds(&spec["pollingInterval"], 30)?,
            cooldown: seconds(&spec["cooldownPeriod"], 300)?,
            initial_cooldown: seconds(&spec["initialCooldownPeriod"], 0)?,
            idle: optional(&spec["idleReplicaCount"])?,
            min: number(&spec["minReplicaCount"], 0)?,
            max: number(&spec["maxReplicaCount"], 100)?,
            fallback: Fallback::read(&spec["fallback"])?,
            scale_up: Rules::read(
                &behavior["scaleUp"],
                0,
                &[(Unit::Pods, 4), (Unit::Percent, 100)],
            )?,
            scale_down: Rules::read(&behavior["scaleDown"], 300, &[(Unit::Percent, 100)])?,
            triggers: triggers
                .iter()
                .map(Trigger::read)
                .collect::<Result<_, _>>()?,
        };
        let idles_below = object.idle.is_none_or(|idle| idle < object.min);
        anyhow::ensure!(
            idles_below,
            "KEDA wants idleReplicaCount below minReplicaCount"
        );
        anyhow::ensure!(
            object.min.max(1) <= object.max,
            "minReplicaCount is above maxReplicaCount"
        );
        Ok(object)
    }
}

impl Trigger {
    fn read(trigger: &Value) -> anyhow::Result<Self> {
        anyhow::ensure!(
            trigger["type"] == "nats-jetstream",
            "{} is no trigger that is played",
            trigger["type"]
        );
        // Without it the metric would be divided by the pods that are ready, which is another rule.
        let average = matches!(trigger["metricType"].as_str(), None | Some("AverageValue"));
        anyhow::ensure!(
            average,
            "{} is no metric type that is played",
            trigger["metricType"]
        );
        let metadata = &trigger["metadata"];
        let text = |key: &str| {
            let value = metadata[key].as_str().map(str::to_owned);
            value.with_context(|| format!("a trigger has no {key}: {metadata}"))
        };
        Ok(Self {
            account: text("account").unwrap_or_default(),
            account_id: text("accountID").or_else(|_| text("account"))?,
            stream: text("stream")?,
            consumer: text("consumer")?,
            lag_threshold: number(&metadata["lagThreshold"], 10)?,
            activation_lag_threshold: number(&metadata["activationLagThreshold"], 0)?,
        })
    }
}

impl Fallback {
    fn read(fallback: &Value) -> anyhow::Result<Option<Self>> {
        if fallback.is_null() {
            return Ok(None);
        }
        let behavior = match fallback["behavior"].as_str().unwrap_or("static") {
            "static" => FallbackBehavior::Static,
            "currentReplicas" => FallbackBehavior::CurrentReplicas,
            "currentReplicasIfHigher" => FallbackBehavior::CurrentReplicasIfHigher,
            "currentReplicasIfLower" => FallbackBehavior::CurrentReplicasIfLower,
            other => anyhow::bail!("`{other}` is no fallback that is played"),
        };
        Ok(Some(Self {
            failure_threshold: number(&fallback["failureThreshold"], 0)?,
            replicas: number(&fallback["replicas"], 0)?,
            behavior,
        }))
    }

    /// Replicas that the metric of a failing trigger asks for.
    pub(crate) fn replicas(&self, current: u32) -> u32 {
        match self.behavior {
            FallbackBehavior::Static => self.replicas,
            FallbackBehavior::CurrentReplicas => current,
            FallbackBehavior::CurrentReplicasIfHigher => current.max(self.replicas),
            FallbackBehavior::CurrentReplicasIfLower => current.min(self.replicas),
        }
    }
}

impl Rules {
    fn read(rules: &Value, stabilization: u32, defaults: &[(Unit, u32)]) -> anyhow::Result<Self> {
        let default = |(unit, value): &(Unit, u32)| Policy {
            unit: *unit,
            value: *value,
            period: Duration::from_secs(15),
        };
        Ok(Self {
            stabilization: seconds(&rules["stabilizationWindowSeconds"], stabilization)?,
            policies: match rules["policies"].as_array() {
                Some(policies) => policies
                    .iter()
                    .map(Policy::read)
                    .collect::<Result<_, _>>()?,
                None => defaults.iter().map(default).collect(),
            },
            select: match rules["selectPolicy"].as_str().unwrap_or("Max") {
                "Max" => Select::Max,
                "Min" => Select::Min,
                "Disabled" => Select::Disabled,
                other => anyhow::bail!("`{other}` is no selectPolicy"),
            },
        })
    }
}

impl Policy {
    fn read(policy: &Value) -> anyhow::Result<Self> {
        Ok(Self {
            unit: match policy["type"].as_str() {
                Some("Pods") => Unit::Pods,
                Some("Percent") => Unit::Percent,
                Some(_) | None => anyhow::bail!("{policy} is no scaling policy"),
            },
            value: number(&policy["value"], 0)?,
            period: seconds(&policy["periodSeconds"], 0)?,
        })
    }
}

fn seconds(value: &Value, default: u32) -> anyhow::Result<Duration> {
    Ok(Duration::from_secs(number(value, default)?.into()))
}

fn number(value: &Value, default: u32) -> anyhow::Result<u32> {
    Ok(optional(value)?.unwrap_or(default))
}

/// A number, or a text that is one, as the metadata of triggers are.
fn optional(value: &Value) -> anyhow::Result<Option<u32>> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    };
    let number = text.parse();
    Ok(Some(
        number.with_context(|| format!("{value} is no number"))?,
    ))
}
