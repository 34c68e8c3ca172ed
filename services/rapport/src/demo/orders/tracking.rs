//! The tracking API, as a shop's server calls it.

use std::time::Duration;

use anyhow::bail;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::history::Order;
use crate::demo::{LOOK_AGAIN, OUTAGE};

/// Orders in a request.
const BATCH: usize = 100;
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Tracking {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Tracking {
    pub(super) fn new(gateway: &str, write_key: &str) -> anyhow::Result<Self> {
        // The client insists on a provider of cryptography, also where there is none to do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { client, url: format!("{gateway}/v1/batch"), key: write_key.to_owned() })
    }

    /// Orders in batches, one after another: a customer's orders arrive as they were made.
    pub(super) async fn send(&self, orders: &[Order]) -> anyhow::Result<()> {
        for batch in orders.chunks(BATCH) {
            let messages: Vec<_> = batch.iter().map(message).collect();
            let body = json!({ "batch": messages }).to_string();
            self.send_batch(&body).await?;
        }
        Ok(())
    }

    /// Sends the same again while the platform does not say that it has it.
    async fn send_batch(&self, body: &str) -> anyhow::Result<()> {
        let give_up = Instant::now() + OUTAGE;
        loop {
            let request = self
                .client
                .post(&self.url)
                .basic_auth(&self.key, Some(""))
                .header("content-type", "application/json")
                .body(body.to_owned());
            match answer(request).await {
                Ok((status, text)) if status.is_success() => return all_taken(&text),
                Ok((status, text)) if !may_pass(status) => {
                    bail!("the tracking API answered {status}: {text}");
                }
                Ok((status, text)) if Instant::now() > give_up => {
                    bail!("the tracking API at {} keeps answering {status}: {text}", self.url);
                }
                Err(error) if Instant::now() > give_up => {
                    return Err(anyhow::Error::new(error).context("call the tracking API"));
                }
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<(StatusCode, String)> {
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn all_taken(text: &str) -> anyhow::Result<()> {
    let answer: Value = serde_json::from_str(text)?;
    match answer["rejected"].as_array() {
        Some(rejected) if !rejected.is_empty() => bail!("the tracking API rejected orders: {text}"),
        _ => Ok(()),
    }
}

fn message(order: &Order) -> Value {
    let (dollars, cents) = (order.cents / 100, order.cents % 100);
    json!({
        "type": "track",
        "messageId": format!("cdnow-{}", order.row),
        "userId": order.customer,
        "event": "Order Completed",
        "timestamp": order.at.to_string(),
        "properties": {
            "revenue": {"currency_code": "USD", "amount": format!("{dollars}.{cents:02}")},
            "quantity": order.items,
        },
    })
}
