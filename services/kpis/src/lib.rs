//! # Whether it works: metrics, figures, targets, alerts, experiments
