"""Heart beats in an ECG: detection by Pan-Tompkins or from a network's probabilities, and matching with true beats.

All in float64 on the host.
"""

import numpy as np

BAND = (5.0, 15.0)  # Hz; QRS complexes are strong in it, and P and T waves, drift and tremor are weak
INTEGRATED = 0.150  # s, width of the moving mean: about the longest QRS complex
REFRACTORY = 0.250  # s, the least distance of two beats
NEAR = 0.075  # s, the largest distance from the middle of a complex to its R peak
SHARE = 0.35  # threshold of a peak, as a share of the 90th percentile of all peaks


def detect_beats(trace: np.ndarray, rate: float) -> np.ndarray:
    """R peaks by the method of Pan & Tompkins 1985: band-pass, slope, square, moving mean, and a threshold.

    The threshold is constant over the trace, a share of the 90th percentile of the peaks, whereas the original adapts
    it to recent peaks: this implementation is for short recordings.

    Args:
      trace: `[L, C]` or `[L]`, in any unit; the squared slopes of several leads are added.
      rate: sampling rate in Hz.

    Returns:
      `[N]` int, in increasing order: for each complex the sample with the largest band-passed amplitude. Empty for a
      flat trace.
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
    """A label of a trace: 1 within `width / 2` of a beat, else 0.

    Args:
      beats: `[N]` samples.
      length: number of samples of the trace, L.
      rate: sampling rate in Hz.
      width: width of the label of a beat, in seconds.

    Returns:
      `[L]` uint8.
    """
    near = np.abs(np.arange(length)[:, None] - np.asarray(beats, int)) <= width * rate / 2
    return near.any(1).astype(np.uint8)


def beats_from_probs(probs: np.ndarray, rate: float, threshold: float = 0.5) -> np.ndarray:
    """Beats in a network's probabilities: the middle of each run of samples above the threshold.

    Of two runs that are closer than REFRACTORY, the longer one is kept.

    Args:
      probs: `[L]`.
      rate: sampling rate in Hz.
      threshold: the threshold.

    Returns:
      `[N]` int, samples in increasing order.
    """
    above = np.concatenate([[0], (np.asarray(probs) > threshold).astype(int), [0]])
    starts, ends = np.flatnonzero(np.diff(above) > 0), np.flatnonzero(np.diff(above) < 0)
    kept: list[tuple[int, int]] = []
    for middle, size in sorted(zip((starts + ends - 1) // 2, ends - starts), key=lambda pair: (-pair[1], pair[0])):
        if all(abs(middle - other) >= REFRACTORY * rate for other, _ in kept):
            kept.append((int(middle), int(size)))
    return np.array(sorted(middle for middle, _ in kept), int)


def match_beats(found: np.ndarray, true: np.ndarray, rate: float, within: float = 0.150) -> np.ndarray:
    """One-to-one matches of found and true beats, the closest pairs first.

    Args:
      found: `[M]` samples.
      true: `[K]` samples.
      rate: sampling rate in Hz.
      within: the largest distance of a pair, in seconds; 150 ms is the window of ANSI/AAMI EC57.

    Returns:
      `[N, 2]` int: positions in `found` and in `true`.
    """
    found, true = np.asarray(found, int), np.asarray(true, int)
    distance = np.abs(found[:, None] - true)
    pairs: list[tuple[int, int]] = []
    for place in np.argsort(distance, axis=None, kind='stable'):
        i, j = divmod(int(place), len(true))
        if distance[i, j] > within * rate:
            break
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return np.array(sorted(pairs), int).reshape(-1, 2)
