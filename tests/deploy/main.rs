//! What deploys and watches Rapport, checked without a cluster.

mod chart;
mod monitoring;
