//! Judges of pictures: FFmpeg counts, hashes and compares what an export holds.

use super::root;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The film that the camera's `/footage` shows, bit for bit.
pub fn source() -> PathBuf {
    root().join("target/footage/vtest.mp4")
}

fn output(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// MD5 of every decoded picture, in order; a picture that does not decode cleanly is a failure.
pub fn frame_hashes(file: &Path) -> Vec<String> {
    let path = file.to_str().unwrap();
    let run = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && stderr.is_empty(), "{path} does not decode: {stderr}");
    let hashes: Vec<String> = String::from_utf8_lossy(&run.stdout)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit(',').next().map(|hash| hash.trim().to_owned()))
        .collect();
    // FFmpeg leaves out in silence what it cannot decode for want of a key picture.
    assert_eq!(hashes.len(), count(file), "{path}: pictures that decode, and pictures that are there");
    hashes
}

/// Hashes of the source's pictures.
pub fn source_hashes() -> &'static [String] {
    static HASHES: OnceLock<Vec<String>> = OnceLock::new();
    HASHES.get_or_init(|| frame_hashes(&source()))
}

/// Where in the looped source these pictures begin, if they are a run of it without duplicate, gap or change.
pub fn place_in_source(pictures: &[String]) -> Option<usize> {
    let source = source_hashes();
    (0..source.len()).find(|start| pictures.iter().enumerate().all(|(i, p)| *p == source[(start + i) % source.len()]))
}

/// Runs of pictures that follow each other in the looped source: (place in the source, length). One run means: nothing
/// is missing; two: one gap between them.
pub fn runs_in_source(pictures: &[String]) -> Vec<(usize, usize)> {
    let source = source_hashes();
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    source.iter().enumerate().for_each(|(i, hash)| places.entry(hash).or_default().push(i));
    let mut runs: Vec<(usize, usize)> = vec![];
    for (i, picture) in pictures.iter().enumerate() {
        if let Some((start, length)) = runs.last_mut()
            && source[(*start + *length) % source.len()] == *picture
        {
            *length += 1;
            continue;
        }
        let found = places.get(picture.as_str());
        let place = found.unwrap_or_else(|| panic!("picture {i} of {} is none of the source's", pictures.len()))[0];
        runs.push((place, 1));
    }
    runs
}

/// Presentation times in seconds, in order.
pub fn times(file: &Path) -> Vec<f64> {
    let text = output(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "packet=pts_time",
            "-of",
            "csv=p=0",
            file.to_str().unwrap(),
        ],
    );
    String::from_utf8_lossy(&text).lines().filter_map(|line| line.trim_matches(',').parse().ok()).collect()
}

/// Number of pictures.
pub fn count(file: &Path) -> usize {
    times(file).len()
}

/// What ffprobe says: streams and format.
pub fn probe(file: &Path) -> Value {
    let text =
        output("ffprobe", &["-v", "error", "-show_streams", "-show_format", "-of", "json", file.to_str().unwrap()]);
    serde_json::from_slice(&text).unwrap()
}

/// Picture number `n` in 8-bit grey, row by row.
pub fn gray(file: &Path, n: usize) -> Vec<u8> {
    let select = format!("select=eq(n\\,{n}),format=gray");
    let path = file.to_str().unwrap();
    let picture = output(
        "ffmpeg",
        &["-v", "error", "-i", path, "-vf", &select, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-"],
    );
    assert!(!picture.is_empty(), "{path} has no picture {n}");
    picture
}

/// Mean absolute difference of two pictures of one size, 0 to 255.
pub fn difference(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len(), "pictures of different size");
    let sum: u64 = one.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.len() as f64
}
