public import IOMMUModel
public import LinuxKernel
public import PageTables

/// What could have caused everything that was seen, best explanation first; empty when nothing disagrees.
///
/// Nothing here knows the answer beforehand. Each kind of cause is solved for: from where entries really are, from what
/// they really hold, from what the device would do without its latch. What explains most of what disagrees now comes first,
/// then what explains most of the past; what follows from another cause comes after it.
public struct Diagnosis: Sendable {
  /// What went wrong, in terms that a program can tell apart.
  public enum Cause: Hashable, Sendable {
    /// The index at a level is taken with another shift.
    case wrongShift(WrongShift)
    /// The page number in leaves is shifted, to the left for a positive number.
    case pageNumberShifted(by: Int)
    /// Bits of the page number are lost; the mask has those that are.
    case pageNumberCut(lost: UInt64)
    /// Leaves point this many pages too far.
    case pageNumberOff(by: Int64)
    /// The protection is misread.
    case protectionMisread(ProtectionMistake)
    /// Only part of a call's range is mapped.
    case rangeCut(RangeMistake)
    /// The driver has one signature, the kernel's operations table another.
    case otherSignature(String)
    /// The same call is made over and over: the driver does not report what it mapped.
    case progressNotReported
    /// The entries lie in another domain's table.
    case otherDomain
    /// The entries are nowhere.
    case entriesLost
    /// Unmap leaves entries behind.
    case unmapIncomplete(RangeMistake)
    /// Unmap clears entries this many bytes away.
    case unmapsAnother(by: Int64)
    /// Mappings that were right are gone, and no recorded call took them out.
    case vanished
    /// The device does not end its walk at a leaf above level 0.
    case superpageMisread(level: Int)
    /// The device takes each entry of a contiguous group for a page of its own.
    case contiguousIgnored
    /// The device answers from its cache what the tables no longer say.
    case staleCache
    /// A latched fault hides good mappings.
    case latchedFault
    /// Nobody hears of faults: no interrupt handler runs.
    case faultsUnheard
    /// The driver looks for a register at another offset than the device has it.
    case registerMisplaced(driver: UInt64, device: UInt64)
    /// A requester's addresses pass untranslated although mappings are made for it.
    case bypassed(RequesterID)
    /// The device walks another table than the driver writes.
    case otherTable
    /// No requester uses the domain.
    case notAttached
    /// Groups have no default domain; whether a second DMA cookie was seen to be the reason.
    case noDefaultDomain(secondCookie: Bool)
    /// Devices in different domains have one requester id.
    case sharedRequester
    /// A requester id lies beyond the driver's device table.
    case beyondTable(RequesterID)
    /// VFIO refuses because the driver does not report cache coherency.
    case noCacheCoherency
    /// VFIO refuses because interrupts are not remapped.
    case unsafeInterrupts
    /// The device was seen to translate to another address than the call that maps it.
    case translatedElsewhere
    /// The device was seen to reach what an unmap call had taken back.
    case reachedAfterUnmap
    /// The device was seen to pass addresses untranslated.
    case passesUntranslated
    /// The device was seen to refuse what calls map.
    case refusedThoughMapped
    /// No driver has set up the IOMMU, which refuses everything.
    case neverProbed
    /// The device was seen to refuse what nothing maps.
    case unmappedAccess
    /// The page to which a device sends its interrupts is not mapped.
    case doorbellUnmapped
  }

  /// An index taken with the wrong shift.
  public struct WrongShift: Hashable, Sendable {
    /// The level whose index is wrong.
    public let level: Int
    /// The shifts that explain it.
    public let shifts: ShiftSet
    /// The one it is taken to be, if one can be told.
    public let shift: Int?
    /// What the shift should be.
    public let expected: Int

    /// The shift to replay it with.
    public var assumed: Int { shift ?? shifts.shifts.first ?? expected }
  }

  /// How a protection is misread.
  public enum ProtectionMistake: String, Hashable, Sendable, CaseIterable {
    /// READ is taken for WRITE and the reverse.
    case exchanged
    /// WRITE is not seen.
    case writeLost
    /// READ is not seen.
    case readLost
    /// Neither is seen.
    case bothLost
    /// Everything is writable.
    case alwaysWritable
    /// Everything is read-only.
    case alwaysReadOnly
    /// The leaf is written without V.
    case validLost
    /// WRITE alone becomes W without R, which is reserved.
    case writeAlone
  }

  /// Which part of a range a call works on.
  public enum RangeMistake: Hashable, Sendable {
    /// Nothing of it.
    case nothing
    /// `pgsize` bytes: the count is not seen.
    case countIgnored
    /// `pgcount` pages of 4 KiB: the page size is not seen.
    case sizeIgnored
    /// The first 4 KiB.
    case firstPageOnly
    /// Some of it, by no rule that fits all calls.
    case part
  }

  /// How much of what disagreed an explanation covers.
  public struct Support: Hashable, Sendable, CustomStringConvertible {
    /// How many, of how many.
    public let explained: Int, total: Int
    /// Of what: `call`, `page`, `group`.
    public let unit: String

    /// `258 of 258 calls`.
    public var description: String { "\(explained) of \(counted(total, unit))" }
  }

  /// One explanation.
  public struct Hypothesis: Hashable, Sendable {
    /// The cause.
    public let cause: Cause
    /// The cause in one line.
    public let title: String
    /// What it explains.
    public let support: Support
    /// What speaks for it and against it, a sentence each.
    public var evidence: [String], counterEvidence: [String] = []
    /// What it breaks, a sentence each.
    public var effects: [String] = []
    /// Where to look, and what to change.
    public let remedy: String
    /// What would narrow it down, and the command that finds out; nil when nothing is open.
    public var openQuestion: String?
    /// Which of the ranges that disagree now it explains, by position.
    var ranges: Set<Int> = []
    /// Its share of the bytes that disagree now, 0 to 1; for what keeps the IOMMU from being used, its weight.
    var present = 0.0
    /// What of the calls that went wrong it explains.
    var accounts: Set<Account> = []
    /// The calls whose entries it let later calls take.
    var ousted: Set<EventID> = []
    /// What it is to the other explanations.
    var role = Role.cause
    /// Calls that it would have spoilt as well and that were right.
    var contradicted = 0
    /// Decides between explanations of equal merit: the larger first.
    var precedence = 0

    /// What an explanation is to the others, in the order in which they are told.
    enum Role: Hashable {
      /// Why things went wrong.
      case cause
      /// Why nobody was told of it.
      case silence
      /// Brought about by another cause.
      case consequence
    }

    /// The wrong shift, when that is the cause.
    public var wrongShift: WrongShift? { if case .wrongShift(let shift) = cause { shift } else { nil } }

    /// Whether it covers everything of its kind.
    public var explainsAll: Bool { support.explained == support.total }
  }

  /// Something that is wrong with what a call left.
  struct Account: Hashable {
    enum Aspect { case place, page, permissions, cleared }
    let event: EventID
    let aspect: Aspect
  }

  /// Map calls with a verification, and how many of them disagree.
  public let calls: Int, disagreeing: Int
  /// Unmap calls that left entries behind.
  public let staleUnmaps: Int
  /// The explanations, best first.
  public let hypotheses: [Hypothesis]
  /// Pages that disagree now.
  public let disagreeingPages: Int
  /// Whether the search was stopped before its end; there may be more explanations, and better ones.
  public let isPartial: Bool

  /// Whether nothing at all was found wrong.
  public var isClean: Bool { disagreeing == 0 && staleUnmaps == 0 && disagreeingPages == 0 && hypotheses.isEmpty }

  /// What is known beside the calls.
  public struct Context {
    /// The CPU's paging; nil when it is not known.
    public var kernel: KernelPaging?
    /// The file and line of the driver's map function.
    public var source: String?
    /// The device's registers; nil when they could not be read.
    public var registers: RegisterValues?
    /// Guest memory; nil when there is none to look into.
    public var memory: (any PhysicalMemory)?
    /// How the kernel has set up its devices; nil when it is not known.
    public var state: KernelState?
    /// Whether faults raise an interrupt that nobody handles; nil when it is not known.
    public var interruptIsUnheard: Bool?
    /// Requests for DMA cookies that were seen.
    public var cookies: [CookieRequest] = []
    /// What logs say.
    public var log: [LogLine] = []

    /// Faults that the device's implementation wrote down.
    public var deviceFaults: [LogLine] = []
    /// When the device was told to forget translations, in order.
    public var invalidations: [RecordedInvalidation] = []
    /// What the device was seen to translate; nil when nothing was.
    public var translations: TranslationCheck?
    /// A fault that was seen to outlive the repair of its entry.
    public var outlivedRepair: OutlivedRepair?
    /// How many calls were verified against captures made later, and against which; nil when none was.
    public var laterVerification: String?
    /// Facts about the driver's source.
    var sourceIndices = SourceIndices([:], profile: UnknownDriver(device: UnknownDevice()))

    /// A context.
    public init(kernel: KernelPaging? = nil, source: String? = nil) {
      self.kernel = kernel
      self.source = source
    }
  }

  /// Explains `calls`, each with what was found right after it, and `check`, the state now.
  public init(
    _ calls: some Sequence<(call: RecordedCall, verification: Verification)>, history: [RecordedCall],
    profile: any DriverProfile, check: CrossCheck?, context: Context
  ) {
    self.init(VerifiedCalls(calls), history: history, profile: profile, check: check, context: context)
  }

  init(
    _ calls: VerifiedCalls, history: [RecordedCall], profile: any DriverProfile, check: CrossCheck?, context: Context,
    progress: WorkProgress? = nil
  ) {
    let symptoms = Symptoms(calls, history: history, profile: profile, check: check, context: context)
    self.calls = symptoms.maps.count
    disagreeing = symptoms.wrongMaps.count
    staleUnmaps = symptoms.wrongUnmaps.count
    disagreeingPages = check?.disagreeingPages ?? 0
    let searches: [([Hypothesis]) -> [Hypothesis]] = [
      { _ in symptoms.wrongShifts() }, symptoms.wrongLeaves(unless:), { _ in symptoms.wrongRanges() },
      symptoms.lostEntries(unless:), symptoms.wrongUnmapping(unless:), { _ in symptoms.contiguousCauses() },
      symptoms.deviceCauses(after:), symptoms.staleCauses(after:),
      { _ in symptoms.bringUpCauses() }, symptoms.indirectCauses(after:), symptoms.outlivedRepair(after:),
      symptoms.translationCauses(after:), { _ in symptoms.refusalCauses() }, symptoms.silence(after:),
    ]
    var found: [Hypothesis] = []
    for search in searches where progress?.stops("looking for causes", at: 0) != true { found += search(found) }
    isPartial = progress?.isStopped ?? false
    found = symptoms.corroborated(found)
    var ranked = Self.ranked(found)
    if !ranked.isEmpty, let fault = symptoms.faultThatWillStay(beside: ranked) { ranked[0].effects.append(fault) }
    hypotheses = ranked
  }

  /// The best first, as long as each explains something that those before it do not; then their rivals, then why nobody was
  /// told, then what other causes brought about.
  private static func ranked(_ found: [Hypothesis]) -> [Hypothesis] {
    var (news, rivals, silence, consequences): ([Hypothesis], [Hypothesis], [Hypothesis], [Hypothesis]) =
      ([], [], [], [])
    var explained: Set<Account> = []
    for hypothesis in found.sorted(by: { rank($0).lexicographicallyPrecedes(rank($1)) }) {
      if hypothesis.role == .consequence {
        consequences.append(hypothesis)
      } else if hypothesis.role == .silence {
        silence.append(hypothesis)
      } else if !hypothesis.accounts.isEmpty && hypothesis.accounts.isSubset(of: explained) {
        rivals.append(hypothesis)
      } else {
        news.append(hypothesis)
        explained.formUnion(hypothesis.accounts)
      }
    }
    return news + rivals + silence + consequences
  }

  /// The smaller the numbers, the better the explanation.
  private static func rank(_ hypothesis: Hypothesis) -> [Double] {
    let judged = hypothesis.support.total + hypothesis.contradicted
    let share = judged == 0 ? 0 : Double(hypothesis.support.explained) / Double(judged)
    return [-hypothesis.present, -share, -Double(hypothesis.precedence)]
  }
}

/// `1 page`, `2 pages`, `2 accesses`.
func counted(_ count: Int, _ noun: String) -> String {
  "\(count) \(noun)\(count == 1 ? "" : noun.hasSuffix("s") ? "es" : "s")"
}
