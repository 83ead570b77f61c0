//! A run as a picture: a bounded number of points, whatever its length.
//!
//! Points are folded while the run goes on: when all are full, two become one and the next ones take twice as
//! long. Peaks survive the folding, for they are what capacity is judged by.

use serde::Serialize;

/// Points at the most: more than a page is wide in pixels is not seen.
const MOST_POINTS: usize = 1024;

/// One workload's course.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// How long a point lasts, in seconds.
    pub point_seconds: f64,
    /// The largest demand within each point, in requests a second.
    pub demand: Vec<f64>,
    /// The largest need within each point, in replicas.
    pub need: Vec<u32>,
    /// Per contender, the mean of ready replicas within each point.
    pub ready: Vec<Vec<f64>>,
}

/// A chart being made.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    dt: f64,
    steps_per_point: u64,
    in_point: u64,
    demand: Vec<f64>,
    need: Vec<u32>,
    ready: Vec<Vec<f64>>,
    now_demand: f64,
    now_need: u32,
    now_ready: Vec<u64>,
}

impl Folder {
    pub(crate) fn new(dt: f64, contenders: usize) -> Self {
        Self {
            dt,
            steps_per_point: 1,
            in_point: 0,
            demand: Vec::new(),
            need: Vec::new(),
            ready: vec![Vec::new(); contenders],
            now_demand: 0.0,
            now_need: 0,
            now_ready: vec![0; contenders],
        }
    }

    pub(crate) fn push(&mut self, demand: f64, need: u32, ready: impl Iterator<Item = u32>) {
        self.now_demand = self.now_demand.max(demand);
        self.now_need = self.now_need.max(need);
        for (sum, ready) in self.now_ready.iter_mut().zip(ready) {
            *sum += u64::from(ready);
        }
        self.in_point += 1;
        if self.in_point == self.steps_per_point {
            self.close();
        }
    }

    fn close(&mut self) {
        self.demand.push(std::mem::take(&mut self.now_demand));
        self.need.push(std::mem::take(&mut self.now_need));
        for (points, sum) in self.ready.iter_mut().zip(&mut self.now_ready) {
            points.push(std::mem::take(sum) as f64 / self.in_point as f64);
        }
        self.in_point = 0;
        if self.demand.len() == MOST_POINTS {
            halve(&mut self.demand, f64::max);
            halve(&mut self.need, u32::max);
            self.ready.iter_mut().for_each(|r| halve(r, f64::midpoint));
            self.steps_per_point *= 2;
        }
    }

    pub(crate) fn finish(mut self) -> Chart {
        if self.in_point > 0 {
            self.close();
        }
        Chart {
            point_seconds: self.dt * self.steps_per_point as f64,
            demand: self.demand,
            need: self.need,
            ready: self.ready,
        }
    }
}

fn halve<T: Copy>(points: &mut Vec<T>, join: impl Fn(T, T) -> T) {
    for i in 0..points.len() / 2 {
        points[i] = join(points[2 * i], points[2 * i + 1]);
    }
    points.truncate(points.len() / 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_few_points_and_keeps_its_peak() {
        let mut folder = Folder::new(1.0, 1);
        for i in 0..1_000_000_u32 {
            folder.push(if i == 654_321 { 9.0 } else { 1.0 }, 2, std::iter::once(i % 2));
        }
        let chart = folder.finish();
        assert!(chart.demand.len() <= MOST_POINTS && chart.demand.len() > MOST_POINTS / 4);
        assert_eq!(chart.demand.iter().copied().fold(0.0, f64::max), 9.0);
        assert!(chart.ready[0].iter().all(|r| (r - 0.5).abs() < 1e-3));
        let length = chart.point_seconds * chart.demand.len() as f64;
        assert!((1e6..1.1e6).contains(&length), "{length}");
    }
}
