//! The arithmetic of the reports: medians, ratios and the figures of one run.
//!
//! Pure. A figure that does not exist (a ratio to zero, the median of nothing) is NaN, which the
//! tables print as `-` and JSON as `null`; nothing here fails.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The figures of one run, or field by field their medians or ratios.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Operations answered per second.
    pub(crate) operations_per_s: f64,
    /// Time from sending a pipeline to its last reply.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Processor time of the server, user and system, all threads.
    pub(crate) server_cpu_ns_per_operation: f64,
    /// Processor time of the load generator, to see that it was not the limit.
    pub(crate) generator_cpu_ns_per_operation: f64,
}

impl Figures {
    /// Field by field the median.
    pub(crate) fn median(runs: &[Self]) -> Self {
        Self::by_field(|field| median(runs.iter().map(field)))
    }

    /// Field by field the median of `numerator / denominator` over pairs of runs made one right
    /// after the other, so that a slow moment of the machine falls on both sides of a quotient.
    pub(crate) fn median_ratio(numerators: &[Self], denominators: &[Self]) -> Self {
        Self::by_field(|field| {
            let pairs = numerators.iter().zip(denominators);
            median(pairs.map(|(above, below)| ratio(field(above), field(below))))
        })
    }

    fn by_field(figure: impl Fn(fn(&Self) -> f64) -> f64) -> Self {
        Self {
            operations_per_s: figure(|run| run.operations_per_s),
            p50_us: figure(|run| run.p50_us),
            p99_us: figure(|run| run.p99_us),
            p999_us: figure(|run| run.p999_us),
            server_cpu_ns_per_operation: figure(|run| run.server_cpu_ns_per_operation),
            generator_cpu_ns_per_operation: figure(|run| run.generator_cpu_ns_per_operation),
        }
    }
}

/// The median; of an even number of values the mean of the middle two; NaN of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// The smallest value that at least this share of the values does not exceed; NaN of none.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// The quotient, or NaN where there is nothing to divide by.
pub(crate) fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator > 0.0 {
        numerator / denominator
    } else {
        f64::NAN
    }
}

/// A quantile of a histogram of nanoseconds, in microseconds; NaN if it is empty.
pub(crate) fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    if histogram.is_empty() {
        return f64::NAN;
    }
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(value: f64) -> Figures {
        Figures::by_field(|_| value)
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_both_middles() {
        assert_eq!(median([3.0]), 3.0);
        assert_eq!(median([9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 100.0]), 3.0);
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = || (1..=10).rev().map(f64::from);
        assert_eq!(quantile(values(), 0.9), 9.0);
        assert_eq!(quantile(values(), 0.91), 10.0);
        assert_eq!(quantile(values(), 1.0), 10.0);
        assert_eq!(quantile(values(), 0.0), 1.0);
        assert!(quantile([], 0.5).is_nan());
    }

    #[test]
    fn a_ratio_to_nothing_is_no_number() {
        assert_eq!(ratio(1.0, 2.0), 0.5);
        assert!(ratio(1.0, 0.0).is_nan());
        assert!(ratio(1.0, f64::NAN).is_nan());
    }

    #[test]
    fn the_ratio_is_the_median_of_pairs_not_the_ratio_of_medians() {
        // Medians are 2 and 3, whose quotient is 0.67; the pairs give 1, 0.5 and 1.
        let ours = [figures(1.0), figures(2.0), figures(3.0)];
        let theirs = [figures(1.0), figures(4.0), figures(3.0)];
        let ratio = Figures::median_ratio(&ours, &theirs);
        assert_eq!(ratio.p99_us, 1.0);
        assert_eq!(ratio.server_cpu_ns_per_operation, 1.0);
    }

    #[test]
    fn medians_are_taken_field_by_field() {
        let mut runs = [figures(1.0), figures(2.0), figures(3.0)];
        runs[0].p50_us = 50.0;
        let median = Figures::median(&runs);
        assert_eq!(median.operations_per_s, 2.0);
        assert_eq!(median.p50_us, 3.0);
    }

    #[test]
    fn quantiles_come_in_microseconds() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        assert!(quantile_us(&histogram, 0.5).is_nan());
        histogram.record(5_000).unwrap();
        assert!((quantile_us(&histogram, 0.5) - 5.0).abs() < 0.01);
    }
}
