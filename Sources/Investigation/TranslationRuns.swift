import IOMMUModel
import PageTables

/// Puts translations that follow each other together: equal stride, outcome and asker.
///
/// QEMU's memory layer translates piece by piece (facts: a device whose answers cover one byte is asked for every byte of an
/// access). Whether two pieces belong to one access could only be said for certain from the frames above, which cost more
/// than everything else; the place of the answer on the caller's stack tells it well enough: within one access it is the
/// same for every piece but the first, which is asked for from a function further up.
struct TranslationRuns {
  /// What tells one translation from the next before its answer is known.
  struct Question: Equatable {
    let requester: RequesterID?
    let iova: IOVA
    let access: Access?
    /// Where the answer is written: on the stack of the function that asks.
    let place: HVA
    /// The device's state before.
    let before: RegisterValues
  }

  private var run: RecordedTranslation?
  /// Whether the run was handed out: what follows is a run of its own, but of the same access.
  private var isHandedOut = false
  /// Where the answers of all but an access's first piece are written; nil until the second one.
  private var place: HVA?

  /// Whether `question` goes on where the run stands.
  func continues(_ question: Question) -> Bool {
    guard let run, run.requester == question.requester, run.access == question.access, run.after == question.before
    else { return false }
    let step = question.iova - run.last
    // A piece is no larger than what the device's answer covers, or than a register access.
    guard step > 0, step <= max(8, (run.answer?.mask ?? 0) &+ 1), run.count == 1 || step == run.stride else {
      return false
    }
    return place == nil || place == question.place
  }

  /// Takes a translation in; returns the run that it ends.
  mutating func add(
    _ question: Question, answer: RecordedTranslation.Answer?, after: RegisterValues,
    asker: @autoclosure () -> RecordedTranslation.Asker?
  ) -> RecordedTranslation? {
    let followsOn = continues(question)
    let ended = isHandedOut ? nil : run
    if followsOn {
      place = question.place
      if !isHandedOut, var longer = run, longer.continues(with: answer, at: question.iova) {
        longer.stride = question.iova - longer.last
        longer.count += 1
        longer.after = after
        run = longer
        return nil
      }
    } else {
      place = nil
    }
    // The same access may have another outcome: at the end of a mapping, say.
    let who = followsOn ? run?.asker : asker()
    run = RecordedTranslation(
      requester: question.requester, iova: question.iova, access: question.access, answer: answer,
      before: question.before, after: after, asker: who)
    isHandedOut = false
    return ended
  }

  /// The run as it is now, once; nil when there is none.
  mutating func handOut() -> RecordedTranslation? {
    guard !isHandedOut else { return nil }
    isHandedOut = true
    return run
  }
}

extension RecordedTranslation {
  /// Whether `next` is what this run's answer comes to at `iova`.
  fileprivate func continues(with next: Answer?, at iova: IOVA) -> Bool {
    guard let answer, let next else { return answer == nil && next == nil }
    return answer.access == next.access && answer.mask == next.mask
      && next.address - answer.address == iova - self.iova
  }
}
