public import IOMMUModel
public import LinuxKernel
public import PageTables

/// Everything that follows from an investigation at one moment; what a report shows.
public struct Findings {
  /// All calls, in order.
  public let calls: [RecordedCall]
  /// The calls that the comparison is about, in order: those that had returned when the tables were read.
  private let finished: [RecordedCall]
  /// The calls that had not returned yet: their entries are half written, so nothing is concluded from them.
  public let running: [RecordedCall]
  /// What was found right after them.
  public let verifications: Verifications
  /// The driver.
  public let profile: any DriverProfile
  /// Guest-physical memory: live, or the last snapshot.
  public let memory: any PhysicalMemory
  /// The device's registers; nil when they could not be read.
  public let registers: RegisterValues?
  /// The comparison of everything.
  public let check: CrossCheck
  /// The explanations.
  public let diagnosis: Diagnosis
  /// What is known of the target.
  public let facts: [String: String]
  /// Remarks.
  public let notes: [String]
  /// How the kernel had set up its devices; nil when it was not recorded.
  public let state: KernelState?
  /// Log lines that say something about the devices.
  public let log: [LogLine]
  /// What the device was seen to translate, against the calls.
  public let translations: TranslationCheck
  /// What the device was not seen to ask for; nil when nothing is known of that.
  public let untranslated: UntranslatedMappings?
  /// What the device was seen to translate, in the order in which it was recorded.
  public let seen: [RecordedTranslation]
  private let watches: [TranslationWatch]
  /// All calls in the order in which they were made.
  private let ordered: [RecordedCall]
  /// What must be said about the record, a sentence each.
  public let remarks: [String]

  /// Works out what follows from `store`; `running` are the calls that have not returned yet, and `calls` are those of the
  /// store if they are at hand. Stopped by `progress`, it has the ranges that were compared and the causes that were found up to
  /// then; before the first range is compared, it throws.
  public init(
    store: InvestigationStore, profile: any DriverProfile, memory: any PhysicalMemory, registers: RegisterValues?,
    running: [RecordedCall] = [], calls known: [RecordedCall]? = nil, progress: WorkProgress? = nil
  ) throws(InvestigationError) {
    let calls = if let known { known } else { try store.calls(progress: progress) }
    let unfinished = Set(running.compactMap(\.id))
    facts = try store.facts()
    let history = CallHistory(calls, facts: facts)
    let moment = try store.snapshotReason().flatMap(CaptureMoment.init(reason:))
    var finished = history.calls(at: moment)
    if !unfinished.isEmpty { finished.removeAll { $0.id.map(unfinished.contains) ?? false } }
    self.calls = calls
    self.finished = finished
    self.running = running
    verifications = try store.verifications(progress: progress)
    notes = try store.notes()
    self.profile = profile
    self.memory = memory
    self.registers = registers
    let replay = Replay(finished, profile: profile, progress: progress)
    if progress?.isStopped == true { throw WorkProgress.interruption(Replay.work) }
    check = CrossCheck(
      finished, replay: replay, profile: profile, registers: registers, memory: memory, verifications: verifications,
      progress: progress)
    state = try store.kernelState()
    let lines = try store.logLines()
    log = lines.filter { !$0.isOfDevice }
    var context = Diagnosis.Context(kernel: Self.kernel(facts), source: facts[Fact.source])
    (context.registers, context.memory, context.state, context.log) = (registers, memory, state, log)
    context.cookies = try store.cookieRequests()
    // What was seen takes no part in a comparison that nobody wants to wait for.
    seen = progress?.isStopped == true ? [] : try store.translations()
    (watches, ordered) = (try store.translationWatches(), history.calls)
    let batches = try store.factHistory(prefix: ImportedTranslations.prefix).compactMap {
      ImportedTranslations(factName: $0.name, value: $0.value)?.events
    }
    translations = TranslationCheck(seen, calls: ordered, device: profile.device, imported: batches)
    context.deviceFaults = lines.filter { $0.meaning == .deviceFault }
    context.invalidations = try store.invalidations(of: profile.device)
    untranslated = UntranslatedMappings(seen, calls: ordered, watches: watches)
    context.translations = translations
    context.outlivedRepair = OutlivedRepair(
      readings: try store.registerReadings(), entries: try store.factHistory(prefix: Fact.entries),
      device: profile.device)
    context.laterVerification = facts[Fact.laterVerification]
    context.sourceIndices = SourceIndices(facts, profile: profile)
    remarks = Self.remarks(history, moment: moment, compared: finished, unrecorded: check.unrecordedPages)
    context.interruptIsUnheard =
      facts[Fact.faultInterrupt].map { $0 != "handled" } ?? state?.faultHandling.map { $0.interrupt == 0 }
    diagnosis = Diagnosis(
      VerifiedCalls(ordered, verifications), history: finished, profile: profile, check: check, context: context,
      progress: progress)
  }

  /// The comparison of what lies in `iovas` only.
  public func check(in iovas: ClosedRange<IOVA>) -> CrossCheck {
    CrossCheck(
      finished, replay: Replay(finished, profile: profile), profile: profile, registers: registers, memory: memory,
      verifications: verifications, range: iovas)
  }

  /// What the device was not seen to ask for in `iovas`.
  public func untranslated(in iovas: ClosedRange<IOVA>) -> UntranslatedMappings? {
    UntranslatedMappings(seen, calls: ordered, watches: watches, iovas: iovas)
  }

  /// What must be said about which calls the comparison takes in.
  private static func remarks(
    _ history: CallHistory, moment: CaptureMoment?, compared: [RecordedCall], unrecorded: Int
  ) -> [String] {
    var remarks: [String] = []
    if unrecorded > 0 {
      remarks.append(
        "\(counted(unrecorded, "page")) \(unrecorded == 1 ? "is" : "are") not compared: their entries are not in the text "
          + "that the tables are known from.")
    }
    let rootless = history.calls.count { $0.root == nil }
    if rootless > 0 {
      remarks.append("The table of \(counted(rootless, "call")) is not known, so that they are not compared.")
    }
    if let moment, moment.before == 0 {
      remarks.append(
        "None of the recorded calls is known to have been made before the tables in \(moment.file) were captured: they are "
          + "not compared.")
    } else if let moment, let before = moment.before {
      let left = history.calls.count - compared.count
      remarks.append(
        "The tables are those in \(moment.file), as they were before call \(before)"
          + (left == 0 ? "." : ": \(counted(left, "call")) from then on \(left == 1 ? "is" : "are") left out."))
    }
    let gaps = history.gaps.filter { gap in moment?.before.map { gap.lowerBound < $0 } ?? true }
    if !gaps.isEmpty {
      let shown = gaps.prefix(4).map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound) to \($0.upperBound)" }
      remarks.append(
        "Calls \(shown.joined(separator: ", "))\(gaps.count > 4 ? " and others" : "") are not recorded: what they unmapped "
          + "or mapped anew would show as a disagreement.")
    }
    if !history.unplaced.isEmpty {
      remarks.append(
        "\(counted(history.unplaced.count, "call")) of texts without numbers \(history.unplaced.count == 1 ? "is" : "are") "
          + "left out: when they were made is not known.")
    }
    return remarks
  }

  /// The CPU's paging as recorded.
  static func kernel(_ facts: [String: String]) -> KernelPaging? {
    facts[Fact.satp].flatMap { UInt64($0.dropFirst(2), radix: 16) }.map(KernelPaging.init(satp:))
  }
}

/// Names of facts.
public enum Fact {
  /// `satp` at the last stop in the kernel, hexadecimal.
  public static let satp = "satp"
  /// `linux_banner`.
  public static let banner = "kernel"
  /// The profile's identifier.
  public static let profile = "profile"
  /// File and line of the driver's map function.
  public static let source = "source"
  /// Whether the driver has a handler for the device's faults: `handled`, `not handled`.
  public static let faultInterrupt = "fault interrupt"
  /// The debugger's name and version.
  public static let debugger = "debugger"
  /// Where guest memory was read from.
  public static let memory = "memory"
  /// QEMU's version.
  public static let emulator = "qemu"
}
