"""The judgements at the head of the report."""

from mdet_openmm.analysis.page import BAD, GOOD, NEUTRAL, WARN, Verdict
from mdet_openmm.analysis.run_analysis import RunAnalysis
from mdet_openmm.measure.temperature import BROKEN, HOLDS, UNDECIDED
from mdet_openmm.simulation.judgement import equivariance_problem

BOND_TARGET = 0.01
"""Largest difference of a mean bond length from the reference, in Å, that counts as agreement."""

COMPLETED = "completed"
_STATES = {HOLDS: GOOD, BROKEN: BAD, UNDECIDED: NEUTRAL}


def judge(analysis: RunAnalysis) -> list[Verdict]:
    """Stability, end of the run, temperature, energy, and agreement with the reference, in this order."""
    verdicts = [_stability(analysis)]
    reason = str(analysis.run.summary.get("exit_reason", "")).strip()
    message = str(analysis.run.summary.get("message") or "").rstrip(".")
    if reason and reason != COMPLETED:
        verdicts.append(
            Verdict(
                WARN, f"The run ended early, {reason}: {message}." if message else f"The run ended early: {reason}."
            )
        )
    verdicts += _temperature(analysis)
    equivariance = equivariance_problem(analysis.run.summary)
    if equivariance is not None:
        text, far = equivariance
        verdicts.append(Verdict(BAD if far else WARN, f"{text[0].upper()}{text[1:]}."))
    if analysis.energy is not None:
        verdicts.append(Verdict(_STATES[analysis.energy.verdict], analysis.energy.sentence))
    if analysis.reference is not None:
        verdicts += _reference(analysis)
    return verdicts


def _stability(analysis: RunAnalysis) -> Verdict:
    frame = analysis.stability.collapse_frame
    if not analysis.bonds:
        return Verdict(NEUTRAL, "There are no bonds whose stability could be judged.")
    if frame is None or analysis.stability.bond is None:
        largest = analysis.stability.deviation.max()
        return Verdict(
            GOOD, f"Stable for all {analysis.run.times[-1]:g} ps: no bond strayed more than {largest:.2f} Å."
        )
    bond = analysis.bonds[analysis.stability.bond].label
    deviation = analysis.stability.deviation[frame]
    return Verdict(
        BAD, f"Collapsed at {analysis.stable_ps:g} ps (frame {frame}): bond {bond} is {deviation:.2f} Å off its length."
    )


def _temperature(analysis: RunAnalysis) -> list[Verdict]:
    result = analysis.temperature
    if result is None:
        return [Verdict(NEUTRAL, "There are no temperatures to judge.")]
    if not result.canonical:
        return [Verdict(NEUTRAL, result.sentence)]
    verdicts = [result.mean_verdict, result.equipartition_verdict]
    state = BAD if BROKEN in verdicts else NEUTRAL if UNDECIDED in verdicts else GOOD
    lines = [Verdict(state, result.sentence)]
    if result.spread_verdict == BROKEN and result.mean_verdict == HOLDS:
        lines.append(
            Verdict(
                WARN,
                f"The temperature fluctuates by {result.mean.std:.1f} K; the canonical ensemble has "
                f"{result.expected_std:.1f} K.",
            )
        )
    return lines


def _reference(analysis: RunAnalysis) -> list[Verdict]:
    lines = []
    differences = [(abs(b.difference), b) for b in analysis.bonds if b.difference is not None]
    if differences:
        size, worst = max(differences, key=lambda pair: pair[0])
        text = f"the largest difference of a mean bond length is {size:.4f} Å ({worst.label})"
        if size <= BOND_TARGET:
            lines.append(Verdict(GOOD, f"Bond lengths agree with the reference: {text}."))
        elif size > BOND_TARGET + 3 * worst.difference_error:
            lines.append(Verdict(BAD, f"Bond lengths differ from the reference: {text}."))
        else:
            lines.append(Verdict(NEUTRAL, f"Bond lengths are not known well enough to compare: {text}."))
    return lines
