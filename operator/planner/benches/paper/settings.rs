//! Which applications the paper was measured on, as far as it and its repository say.
//!
//! - **Table I** is complete: VGG-19, three applications of 0.5, 0.8 and 1 s at 5, 10 and 20 requests a second.
//! - **Section V-C**, Fig. 11 to 14: eight applications a model. SLOs of VideoMAE and GPT-2: 1.0 to 2.4 s in steps of 0.2 s. For
//!   VGG-19 and BERT the text says 0.2 to 1.0 s in steps of 0.1 s, which would be nine; `conf/config.json` of the repository lists 0.3
//!   to 1.0 s, and Fig. 14 shows the same: six applications on one GPU function of 13 rows wait for 0.15 to 0.65 s, and their SLOs
//!   are 0.5 to 1.0 s where the function takes 0.35 s.
//! - Its **rates** are not given: "the trace of Azure Functions". The repository has four applications of two hours. Ours: every
//!   application of the eight takes the mean rate of one of them, twice in their order, times a factor that is 1 unless a table says
//!   otherwise. Fig. 14, where only one application of the eight affords a GPU alone, suggests about a third of that.
//! - The **four applications** of the repository have SLOs for VGG-19 there (0.3, 0.5, 0.8, 1 s). Ours: BERT the same, VideoMAE and
//!   GPT-2 the SLOs in the same places of their eight.
//! - **Section V-D**, Table IV: VGG-19, 1 to 12 applications. Ours: SLOs over 0.3 to 1 s, rates over 0.05 to 50, log-uniform.

use harmonybatch_planner::App;

use crate::fixture::{BERT, Coefficients, VGG19, app};

const TRACES: &str = include_str!("traces.txt");

/// Applications of the repository, hence traces.
pub(crate) const TRACED: usize = 4;

/// What Fig. 11 and the text beside it say, for a model: HarmonyBatch is so much cheaper than MBS+.
pub(crate) const CHEAPER_THAN_MBS: [(&str, f64); 4] = [
    ("vgg19", 0.596),
    ("bert", 0.545),
    ("gpt-2", 0.529),
    ("videomae", 0.161),
];

/// The headline: the most that HarmonyBatch is cheaper than BATCH or MBS+, over all models.
pub(crate) const CHEAPER_AT_MOST: f64 = 0.829;

/// Fig. 13: merging makes the four models cheaper by so much, at least and at most.
pub(crate) const MERGING_SAVES: (f64, f64) = (0.131, 0.624);

/// Table I: normalised cost of BATCH, MBS+ and HarmonyBatch.
pub(crate) const TABLE_I: [(&str, f64); 3] = [("BATCH", 1.0), ("MBS+", 0.88), ("HarmonyBatch", 0.63)];

/// Table IV: applications, and milliseconds that BATCH, MBS+ and HarmonyBatch took.
pub(crate) const TABLE_IV: [(usize, [f64; 3]); 3] = [
    (1, [34.0, 176.0, 2.0]),
    (6, [222.0, 3497.0, 23.0]),
    (12, [393.0, 8156.0, 38.0]),
];

/// Whether the paper gives a model the shorter of its two ranges of SLOs.
fn is_quick(model: &Coefficients) -> bool {
    [VGG19.name, BERT.name].contains(&model.name)
}

/// The applications of Table I.
pub(crate) fn table_i() -> Vec<App> {
    vec![
        app("app-1", 0.5, 5.0),
        app("app-2", 0.8, 10.0),
        app("app-3", 1.0, 20.0),
    ]
}

/// The eight applications of section V-C at `factor` times the mean rates of the traces.
pub(crate) fn eight(model: &Coefficients, factor: f64) -> Vec<App> {
    let means = mean_rates();
    let (first, step) = if is_quick(model) { (0.3, 0.1) } else { (1.0, 0.2) };
    (0_u32..8)
        .zip(means.iter().cycle())
        .map(|(index, rate)| {
            let slo = first + step * f64::from(index);
            // As the authors' program was given them.
            let rounded = |value: f64, digits: f64| (value * digits).round() / digits;
            app(
                &format!("app-{}", index + 1),
                rounded(slo, 1e3),
                rounded(rate * factor, 1e4),
            )
        })
        .collect()
}

/// The four applications of the repository at these rates.
pub(crate) fn four(model: &Coefficients, rates: [f64; TRACED]) -> Vec<App> {
    let slos = if is_quick(model) {
        [0.3, 0.5, 0.8, 1.0]
    } else {
        [1.0, 1.4, 2.0, 2.4]
    };
    (1..)
        .zip(slos.iter().zip(rates))
        .map(|(number, (&slo, rate))| app(&format!("app-{number}"), slo, rate))
        .collect()
}

/// Requests a second of the four applications, minute by minute.
pub(crate) fn minutes() -> Vec<[f64; TRACED]> {
    let traces: Vec<Vec<f64>> = TRACES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            line.split(' ')
                .map(|count| count.parse::<f64>().unwrap() / 60.0)
                .collect()
        })
        .collect();
    assert_eq!(traces.len(), TRACED);
    (0..traces[0].len())
        .map(|minute| std::array::from_fn(|index| traces[index][minute]))
        .collect()
}

/// The same over both hours.
pub(crate) fn mean_rates() -> [f64; TRACED] {
    let minutes = minutes();
    let count = f64::from(u32::try_from(minutes.len()).unwrap());
    std::array::from_fn(|index| minutes.iter().map(|rates| rates[index]).sum::<f64>() / count)
}
