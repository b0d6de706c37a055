"""Heart beats in an ECG: found without training, in a network's probabilities, and how well they meet the truth.

On the host, in float64.
"""

import numpy as np

BAND = (5.0, 15.0)  # Hz in which QRS complexes are strong, and P and T waves, drift and tremor are weak
INTEGRATED = 0.150  # s, of the moving mean: about the longest QRS complex
REFRACTORY = 0.250  # s: no two beats are nearer
NEAR = 0.075  # s, from a complex to its R peak
SHARE = 0.35  # of the level of complexes that a peak has to have


def detect_beats(trace: np.ndarray, rate: float) -> np.ndarray:
    """R peaks after Pan & Tompkins 1985: band, slope, square, moving mean, and a threshold.

    The threshold is one for the whole trace, a share of the 90th percentile of the peaks, where the original follows
    the peaks as they come: this is for short recordings.

    Args:
      trace: `[L, C]` or `[L]`, any unit; of several leads the squared slopes are added up.
      rate: samples a second.

    Returns:
      `[N]` int, rising: the samples of the largest band-passed amplitude of each complex. None for a flat trace.
    """
    from scipy import signal  # slow to import

    trace = np.asarray(trace, np.float64).reshape(len(trace), -1)
    limits = np.minimum(np.array(BAND), 0.45 * rate)
    band = signal.sosfiltfilt(signal.butter(2, limits, 'bandpass', fs=rate, output='sos'), trace, axis=0)
    width = max(1, round(INTEGRATED * rate))
    energy = np.convolve((np.gradient(band, axis=0)**2).sum(1), np.ones(width) / width, 'same')
    peaks, _ = signal.find_peaks(energy, distance=max(1, round(REFRACTORY * rate)))
    if not len(peaks) or energy.max() <= 0:
        return np.zeros(0, int)
    peaks = peaks[energy[peaks] > SHARE * np.percentile(energy[peaks], 90)]
    size, reach = np.abs(band).sum(1), round(NEAR * rate)
    found = [max(0, p - reach) + int(size[max(0, p - reach):p + reach + 1].argmax()) for p in peaks]
    return np.unique(found)


def beat_mask(beats: np.ndarray, length: int, rate: float, width: float) -> np.ndarray:
    """A label `[L]` uint8: 1 within half of `width` seconds of a beat."""
    near = np.abs(np.arange(length)[:, None] - np.asarray(beats, int)) <= width * rate / 2
    return near.any(1).astype(np.uint8)


def beats_from_probs(probs: np.ndarray, rate: float, threshold: float = 0.5) -> np.ndarray:
    """Beats in a network's probabilities `[L]`: the middle of each run above the threshold, `[N]` int.

    Of two that are nearer than a heart can beat, the longer run stays.
    """
    above = np.concatenate([[0], (np.asarray(probs) > threshold).astype(int), [0]])
    starts, ends = np.flatnonzero(np.diff(above) > 0), np.flatnonzero(np.diff(above) < 0)
    kept: list[tuple[int, int]] = []
    for middle, size in sorted(zip((starts + ends - 1) // 2, ends - starts), key=lambda pair: (-pair[1], pair[0])):
        if all(abs(middle - other) >= REFRACTORY * rate for other, _ in kept):
            kept.append((int(middle), int(size)))
    return np.array(sorted(middle for middle, _ in kept), int)


def match_beats(found: np.ndarray, true: np.ndarray, rate: float, within: float = 0.150) -> np.ndarray:
    """Pairs of a found and a true beat that are at most `within` seconds apart, the nearest first; each is in one.

    150 ms is the window of ANSI/AAMI EC57.

    Returns:
      `[N, 2]` int, places in both.
    """
    found, true = np.asarray(found, int), np.asarray(true, int)
    apart = np.abs(found[:, None] - true)
    pairs: list[tuple[int, int]] = []
    for place in np.argsort(apart, axis=None, kind='stable'):
        i, j = divmod(int(place), len(true))
        if apart[i, j] > within * rate:
            break
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return np.array(sorted(pairs), int).reshape(-1, 2)
