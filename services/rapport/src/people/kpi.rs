//! `rapport kpi`: figures of a metric, by bucket.

use rapport_proto::kpis::v1::{Figure, QueryFiguresRequest};
use serde_json::json;

use super::Output;
use super::show::{time, value};
use crate::cli::print;
use crate::remote::{Remote, told};
use crate::table::Table;

/// Which figures.
#[derive(clap::Args)]
pub(crate) struct Kpi {
    /// Metric, for example `orders` or `nps`
    metric: String,
    /// Dimension by which to split; may be repeated
    #[arg(long, value_name = "DIMENSION")]
    by: Vec<String>,
    /// One figure over the whole time instead of one for each bucket
    #[arg(long)]
    total: bool,
}

pub(super) async fn show(remote: &Remote, ask: Kpi, output: Output) -> anyhow::Result<()> {
    let request = QueryFiguresRequest {
        name: remote.name("metrics", &ask.metric),
        group_by: ask.by.clone(),
        total: ask.total,
        ..Default::default()
    };
    let answer = told(remote.metrics.clone().query_figures(request).await)?;
    if output == Output::Json {
        let all: Vec<_> = answer.figures.iter().map(value).collect::<Result<_, _>>()?;
        print(&format!("{}\n", serde_json::to_string_pretty(&json!({"figures": all}))?));
        return Ok(());
    }
    let head: Vec<String> = ask.by.iter().map(|it| it.to_uppercase()).collect();
    let head: Vec<&str> = (["FROM"].into_iter())
        .chain(head.iter().map(String::as_str))
        .chain(["VALUE", "95 % INTERVAL", "N"])
        .collect();
    let mut table = Table::new(&head);
    for it in &answer.figures {
        table.row(row(it, &ask));
    }
    print(&table.print("there is nothing to count yet"));
    if let Some(figure) = answer.figures.first() {
        print(&format!(
            "\nversion {} of the definition, hash {}\n",
            figure.version, figure.definition_hash
        ));
    }
    Ok(())
}

fn row(it: &Figure, ask: &Kpi) -> Vec<String> {
    let from = time(it.bucket_start.as_ref().filter(|_| !ask.total));
    let split = ask.by.iter().map(|name| it.dimensions.get(name).cloned().unwrap_or_default());
    let number = |value: f64| format!("{value:.2}").trim_end_matches(".00").to_owned();
    let value = match it.value {
        Some(value) => format!("{} {}", number(value), it.currency_code).trim().to_owned(),
        None if it.suppressed => "hidden".to_owned(),
        None => String::new(),
    };
    let interval = match (it.lower, it.upper) {
        (Some(lower), Some(upper)) => format!("{} to {}", number(lower), number(upper)),
        _ => String::new(),
    };
    [from].into_iter().chain(split).chain([value, interval, it.n.to_string()]).collect()
}
