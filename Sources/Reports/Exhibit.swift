import IOMMUModel
import Investigation
import PageTables

/// A call as evidence: what it asked for, what was found right after it, where the tables lead, what the device makes of it.
struct Exhibit {
  /// The call.
  let recorded: RecordedCall
  /// What was found right after it; nil when nobody looked.
  let verification: Verification?
  /// Where its entries should be, and where they are; nil when its table is not known.
  let walk: WalkComparison?
  /// What the device does with its first address; nil when that cannot be told.
  let translation: DeviceTranslation?

  /// `recorded` as evidence for `hypothesis`.
  init(_ recorded: RecordedCall, of findings: Findings, for hypothesis: Diagnosis.Hypothesis?) {
    self.recorded = recorded
    verification = recorded.id.flatMap { findings.verifications[$0] }
    walk = recorded.root.map { root in
      let leaves = findings.profile.leaves(of: recorded.call, mode: root.mode).first
      return WalkComparison(
        recorded.call.iova, root: root, leaf: leaves, shift: hypothesis?.wrongShift, memory: findings.memory)
    }
    var translation: DeviceTranslation?
    if let requester = recorded.requester, let registers = findings.registers {
      let protection = recorded.call.protection ?? .read
      translation = findings.profile.device.translate(
        recorded.call.iova, access: protection.contains(.read) ? .read : .write, requester: requester,
        registers: registers, memory: findings.memory)
    }
    self.translation = translation
  }
}
