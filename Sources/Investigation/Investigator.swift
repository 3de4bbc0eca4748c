import GuestMemory
public import IOMMUModel
public import LinuxKernel
public import PageTables

/// A debugger session on a kernel: what it needs to know of the guest, found once and kept, and the events it records.
///
/// Not for use from several threads: a debugger is single-threaded.
public final class Investigator {
  /// The debugger.
  public let target: any Target
  private let tenants: [any Tenant.Type]

  /// Where guest memory may be read from.
  public enum MemoryPreference: String, Sendable, CaseIterable {
    /// The fastest source that works.
    case auto
    /// The debugger's connection, page by page.
    case remote
  }
  /// What the user prefers; a change takes effect at once.
  public var memoryPreference = MemoryPreference.auto { didSet { forgetMemory() } }
  /// QEMU's process, when the user names it; 0 for the one behind the connection.
  public var processID: Int32 = 0 { didSet { forgetMemory() } }

  /// The investigation file in use; nil until one is opened.
  public private(set) var store: InvestigationStore?

  // Found once, forgotten when symbols or the connection change.
  private var knownProfile: (any DriverProfile)?
  private var emulator: String?
  private var knownLayout: (any DriverLayout)?
  private var knownMemory: ResolvedMemory?
  private var linearOffset: UInt64?
  private var structures: StructureLayouts?
  private var knownLog: KernelLog?
  private var kernelImage: KernelImage?
  // Forgotten when the guest has run.
  private var knownRegisters: RegisterValues?
  private var requesters: [GPA: RequesterID] = [:]

  /// Recorded calls, oldest first, until they are verified: several only where CPUs or interrupts make calls meanwhile.
  private var pending: [PendingCall] = []

  /// What a hit has to store.
  private struct Seen {
    var verified: [(call: RecordedCall, verification: Verification)]
    var call: RecordedCall?
    var place: CallPlace?
  }
  /// What could not be stored when it was seen, oldest first: the disk was full, or the file was gone.
  private var unstored: [Seen] = []

  /// A session on what `target` holds, for the drivers of `tenants`.
  public init(target: any Target, tenants: [any Tenant.Type]) {
    self.target = target
    self.tenants = tenants
  }

  // MARK: What is known of the guest

  /// Forgets everything: other symbols, another machine.
  public func forgetTarget() {
    knownProfile = nil
    knownLayout = nil
    structures = nil
    knownLog = nil
    emulator = nil
    pending = []
    forgetMemory()
  }

  private func forgetMemory() {
    knownMemory = nil
    linearOffset = nil
    kernelImage = nil
    targetRan()
  }

  /// Forgets what changes while the guest runs.
  public func targetRan() {
    knownMemory?.targetRan()
    knownRegisters = nil
    requesters = [:]
  }

  /// The driver's profile.
  public func profile() throws(TargetError) -> any DriverProfile {
    if let knownProfile { return knownProfile }
    for tenant in tenants {
      if let profile = try tenant.profile(in: target) {
        knownProfile = profile
        return profile
      }
    }
    var symbols: [String] = []
    for profile in tenants.flatMap({ $0.profiles }) {
      for function in profile.functions where function.kind == .map && !symbols.contains(function.symbol) {
        symbols.append(function.symbol)
      }
    }
    let (others, last) = (symbols.dropLast(), symbols.last ?? "the map function")
    let missing =
      others.isEmpty ? "\(last) is missing" : "\(others.joined(separator: ", ")) and \(last) are missing"
    throw TargetError(
      "No IOMMU driver known here is in the symbols: \(missing). "
        + "Load the kernel with its debug information: `file vmlinux`.")
  }

  private func layout() throws(TargetError) -> any DriverLayout {
    if let knownLayout { return knownLayout }
    let layout = try profile().layout(in: target)
    knownLayout = layout
    return layout
  }

  /// Guest memory and where it comes from.
  public func memory() throws(TargetError) -> (source: any PhysicalMemory, explanation: String) {
    if let known = knownMemory, known.isCurrent() {
      knownMemory?.settle()
      return (known.source, known.explanation)
    }
    guard let connection = target.connection() else {
      throw TargetError("No guest: connect to QEMU's gdbstub first, `target remote :1234`.")
    }
    let (target, preference, processID) = (self.target, memoryPreference, self.processID)
    let reader: CallableMemory.Reader = { address, count in try target.read(address, count: count) }
    let monitor: GuestMemoryResolver.Monitor = { try target.monitor($0) }
    let resolver = Result<GuestMemoryResolver, any Error> {
      guard preference == .auto else { throw TargetError("`set iommu memory remote` asks for it") }
      let process = try processID > 0 ? QEMUProcess(pid: processID) : QEMUProcess(behind: connection)
      return GuestMemoryResolver(process: process, monitor: monitor, debugger: reader)
    }
    let found = ResolvedMemory(
      locate: {
        if case .success(let resolver) = resolver, let places = try? resolver.locate() { return places }
        return try RAMRegion.all(inMemoryTree: monitor(RAMRegion.memoryTreeCommand)).map {
          GuestMemoryResolver.Place(region: $0, host: nil)
        }
      },
      open: { places in
        // Where QEMU tells of no region's place, asking once more says why.
        let resolver = try resolver.get()
        return try places.contains { $0.host != nil } ? resolver.resolve(places) : resolver.resolve()
      }, slow: "remote protocol", reader: reader, pageReader: { try target.readPages($0) })
    knownMemory = found
    return (found.source, found.explanation)
  }

  /// The kernel's linear map over guest memory.
  public func kernelMemory() throws(TargetError) -> KernelMemory {
    let memory = try memory().source
    let target = self.target
    // Asked for where an address needs it: `satp` costs a round trip to the stub, and a hit mostly needs the linear map alone.
    let translate: (KVA) -> GPA? = { address in
      // The CPU's own table, which holds the kernel in every process; its address is in satp (bits 43:0, in pages).
      if let (satp, paging) = self.kernelPaging(), let mode = paging.mode {
        let root = GPA((satp & 0xfff_ffff_ffff) << 12)
        if let found = mode.geometry.walk(IOVA(address.rawValue), root: root, in: memory).target { return found }
      }
      // HMP `gva2gpa` asks the CPU: `gpa: 0x8084b000`, or `Unmapped`.
      guard let answer = try? target.monitor("gva2gpa \(address)") else { return nil }
      return answer.split(whereSeparator: \.isWhitespace).last.flatMap { UInt64($0.dropFirst(2), radix: 16) }.map(
        GPA.init)
    }
    if linearOffset == nil {
      for symbol in ["kernel_map.va_pa_offset", "va_pa_offset"] {
        if let offset = try? target.evaluate(symbol), offset != 0 {
          linearOffset = offset
          // Asked for once as well: the kernel fills all of `kernel_map` in before it uses the linear map.
          kernelImage = KernelImage(in: target)
          break
        }
      }
    }
    return KernelMemory(memory: memory, linearOffset: linearOffset ?? 0, image: kernelImage, translate: translate)
  }

  /// The CPU's paging now; nil when the debugger does not know `satp`.
  public func kernelPaging() -> (satp: UInt64, paging: KernelPaging)? {
    (try? target.evaluate("$satp")).map { ($0, KernelPaging(satp: $0)) }
  }

  /// The kernel's version; nil when it has no `linux_banner`.
  public func kernelVersion() -> KernelVersion? {
    (try? target.string("linux_banner")).flatMap(KernelVersion.init(banner:))
  }

  /// Where the register block lies.
  public func registerBlock() throws(TargetError) -> GPA {
    try layout().registerBlock(in: kernelMemory(), target: target)
  }

  /// The device's registers, read once per stop over the monitor. Unreadable registers are left out.
  public func registers() throws(TargetError) -> RegisterValues {
    if let knownRegisters { return knownRegisters }
    let block = try registerBlock()
    var values = RegisterValues()
    for register in try profile().device.registers {
      // Each by itself: an unreadable offset ends a multi-word read.
      values.byOffset[register.offset] = try self.register(at: block + register.offset, size: register.size)
    }
    guard !values.byOffset.isEmpty else {
      throw TargetError("No register of \(try profile().device.name) could be read at \(block).")
    }
    knownRegisters = values
    return values
  }

  /// The register of 4 or 8 bytes at `address`, read now; nil for one that cannot be read.
  func register(at address: GPA, size: Int = 8) throws(TargetError) -> UInt64? {
    // `000000002c000018: 0x0000000080b76000`.
    let answer = try target.monitor("xp /1\(size == 4 ? "w" : "g")x \(address)")
    guard let text = answer.split(separator: ":").last?.split(whereSeparator: \.isWhitespace).first,
      text.hasPrefix("0x")
    else { return nil }
    return UInt64(text.dropFirst(2), radix: 16)
  }

  /// The contexts that the device knows, and those of the kernel's devices, by requester.
  public func contexts(for state: KernelState) throws(TargetError) -> [DeviceContext] {
    var contexts = try contexts()
    let known = Set(contexts.map(\.requester))
    for requester in Set(state.devices.compactMap(\.requester)).subtracting(known) {
      do {
        contexts.append(
          try profile().device.context(of: requester, registers: registers(), memory: memory().source))
      } catch let error as TargetError {
        throw error
      } catch {
        throw TargetError("\(error)")
      }
    }
    return contexts.sorted { $0.requester < $1.requester }
  }

  /// A domain as the driver keeps it.
  public func domain(_ pointer: KVA) throws(TargetError) -> Domain {
    try layout().domain(pointer, in: kernelMemory())
  }

  /// The lowest requester that is attached to `domain`; nil when none is.
  public func requester(of domain: Domain) -> RequesterID? {
    guard let descriptor = domain.descriptor else { return nil }
    if let known = requesters[descriptor] { return known }
    // The device may have been attached since the registers were read.
    knownRegisters = nil
    for context in (try? contexts()) ?? [] {
      if let descriptor = context.descriptor, requesters[descriptor] == nil {
        requesters[descriptor] = context.requester
      }
    }
    return requesters[descriptor]
  }

  // MARK: The investigation file

  /// Opens or resumes the investigation at `path` for a session of `side`.
  public func open(_ path: String, side: SessionSide = .kernel) throws(InvestigationError) {
    // Opening a file twice in one process and closing one of the two drops SQLite's locks on it (fcntl locks belong to the
    // process), under which another process could then cut the log.
    if let store, store.isSameFile(as: path) { return }
    let opened = try InvestigationStore(path: path, side: side.rawValue)
    if store.map({ !$0.isContinued(in: opened) }) ?? false {
      // What was found refers to calls of the other file.
      pending = []
      unstored = unstored.map { Seen(verified: [], call: $0.call, place: $0.place) }
    }
    store = opened
  }

  /// The investigation; an error when none is open.
  public func requireStore() throws(InvestigationError) -> InvestigationStore {
    guard let store else { throw InvestigationError("No investigation is open: `iommu open [FILE]` starts one.") }
    return store
  }

  /// Stores what is known of the kernel at a stop. What cannot be read is left as it was.
  public func recordFacts(debugger: String?, source: String?) throws(InvestigationError) {
    guard let store, store.readOnly == nil else { return }
    if let paging = kernelPaging(), paging.paging.mode != nil { try store.setFact(Fact.satp, hex(paging.satp)) }
    if let banner = try? target.string("linux_banner") {
      try store.setFact(Fact.banner, String(banner.split(separator: "\n").first ?? ""))
    }
    if let profile = try? profile() { try store.setFact(Fact.profile, profile.identifier) }
    if let heard = try? layout().hearsFaults(target: target) {
      try store.setFact(Fact.faultInterrupt, heard ? "handled" : "not handled")
    }
    if let source { try store.setFact(Fact.source, Self.withoutDetours(source)) }
    if let debugger { try store.setFact(Fact.debugger, debugger) }
    if let memory = try? memory() { try store.setFact(Fact.memory, memory.explanation) }
    if emulator == nil {
      // Asked once: a stub without a monitor stays without one.
      let answer = (try? target.monitor("info version"))?.split(whereSeparator: \.isNewline).first.map(String.init)
      emulator = answer.flatMap { $0.first?.isNumber == true ? Self.version($0) : nil } ?? ""
    }
    if let emulator, !emulator.isEmpty { try store.setFact(Fact.emulator, emulator) }
  }

  /// A path as a source tree has it: the compiler's ways through folders it started from are left out, as in
  /// `../drivers/iommu/generic_pt/fmt/../iommu_pt.h:934`.
  private static func withoutDetours(_ path: String) -> String {
    if path.hasPrefix("/") { return path }
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part != ".." { parts.append(part) } else if !parts.isEmpty { parts.removeLast() }
    }
    return parts.joined(separator: "/")
  }

  /// QEMU's monitor writes the package right behind the version: `10.0.2Debian 1:10.0.2+ds-2`.
  private static func version(_ answer: String) -> String {
    let number = answer.prefix { $0.isNumber || $0 == "." }
    let package = answer.dropFirst(number.count)
    return package.first?.isLetter == true ? "\(number) (\(package))" : answer
  }

  // MARK: Calls

  /// The call that `function` was given.
  public func call(_ function: String, arguments: [UInt64]) throws(TargetError) -> DriverCall {
    guard let known = try profile().functions.first(where: { $0.symbol == function }) else {
      throw TargetError("\(function) is not a map or unmap function of \(try profile().name).")
    }
    return try profile().call(known, arguments: arguments)
  }

  /// The call as it would be recorded: with its domain's root and requester, as far as they can be read.
  public func describe(_ call: DriverCall) -> RecordedCall {
    let domain = try? domain(call.domain)
    return RecordedCall(
      number: 0, call: call, root: domain?.root, requester: domain.flatMap(requester(of:)))
  }

  /// What is to be recorded and where the guest should stop.
  public private(set) var rules: [WatchRule] = []

  /// Adds a rule.
  public func watch(_ rule: WatchRule) { rules.append(rule) }

  /// Drops the rules that stop the guest, or those that only record.
  public func dropRules(thatStop: Bool) { rules.removeAll { ($0.stop != .never) == thatStop } }

  /// Whether a call could still be recorded or verified, so that the driver's functions have to be watched.
  public var isWatching: Bool {
    !pending.isEmpty || !unstored.isEmpty || rules.contains { $0.stop != .never || !$0.isDone }
  }

  /// Whether everything is recorded, so that what happens once, at boot, is worth watching too.
  public var recordsEverything: Bool {
    rules.contains { $0.stop == .never && $0.iovas == nil && $0.requester == nil && $0.kinds == Set(CallKind.allCases) }
  }

  /// What a call at its entry means for the session.
  public struct Hit: Sendable {
    /// Whether a rule wants the guest to stop here.
    public let stops: Bool
    /// An earlier call, when its wrong entries are why the guest stops.
    public let mismatch: (call: RecordedCall, verification: Verification)?
  }

  /// Takes note of a call at its entry. The tables now are what the calls before it left, so those that have returned are
  /// verified first.
  public func hit(
    _ function: String, arguments: [UInt64], place: CallPlace? = nil, callers: [String] = []
  ) throws -> Hit {
    _ = try requireStore()
    knownMemory?.remote?.invalidate()
    let call = try call(function, arguments: arguments)
    // The call before, if there is room for it by now, is verified like any other.
    if !unstored.isEmpty { _ = try? store() }
    if try isToldAgain(call, at: place) { return Hit(stops: false, mismatch: nil) }
    let verified = try checkPending(before: place)
    let wrong = verified.filter { !$0.verification.agrees }
    guard isWatching else {
      try store(Seen(verified: verified))
      return Hit(stops: false, mismatch: nil)
    }
    var recorded = describe(call)
    recorded.callers = callers
    let isRecorded = rules.contains { $0.records(recorded) }
    if let stored = try store(Seen(verified: verified, call: isRecorded ? recorded : nil, place: place)) {
      recorded = stored
    }
    var stops = false
    var mismatch: (call: RecordedCall, verification: Verification)?
    for index in rules.indices {
      let blamed = rules[index].stop == .mismatch ? wrong.first { rules[index].isAbout($0.call) } : nil
      guard rules[index].counts(recorded, mismatch: blamed?.call) else { continue }
      stops = true
      mismatch = mismatch ?? blamed
    }
    return Hit(stops: stops, mismatch: mismatch)
  }

  /// Stores what was seen, after what could not be stored before it; the last call, with its numbers, waits to be verified.
  @discardableResult
  private func store(_ seen: Seen? = nil) throws(InvestigationError) -> RecordedCall? {
    if let seen { unstored.append(seen) }
    let store = try requireStore()
    var last: RecordedCall?
    do {
      while let next = unstored.first {
        last = try store.append(next.call, after: next.verified)
        unstored.removeFirst()
        // Where calls were made after it, the tables may be as those left them.
        if let last, unstored.isEmpty { pending.append(PendingCall(recorded: last, place: next.place)) }
      }
    } catch {
      throw InvestigationError("\(error) What was seen since is kept until then.")
    }
    return last
  }

  /// Whether the debugger tells once more of the call made last, which has not run yet: nothing that it should leave is there.
  private func isToldAgain(_ call: DriverCall, at place: CallPlace?) throws -> Bool {
    guard let last = pending.last, last.looksLike(call, at: place), let root = last.recorded.root else { return false }
    let verifier = Verifier(profile: try profile(), memory: try memoryNow())
    guard !verifier.verify(call, root: root).agrees else { return false }
    pending[pending.count - 1].repeats += 1
    return true
  }

  /// Verifies the recorded calls that have returned by now, oldest first, and stores what is found.
  @discardableResult
  public func verifyPending() throws -> [(call: RecordedCall, verification: Verification)] {
    let verified = try checkPending(before: nil)
    if !verified.isEmpty || !unstored.isEmpty { try store(Seen(verified: verified)) }
    return verified
  }

  /// What the recorded calls that have returned by now left, oldest first.
  ///
  /// `place` is where the next call is being made. A call made from the same thread with no less stack in use has
  /// surely returned; any other is asked about only when its entries are not as they should be, because asking costs as
  /// much as the stop itself.
  private func checkPending(
    before place: CallPlace?
  ) throws -> [(call: RecordedCall, verification: Verification)] {
    var verified: [(call: RecordedCall, verification: Verification)] = []
    var running: [PendingCall] = []
    let waiting = pending
    pending = []
    let memory = waiting.isEmpty ? nil : try memoryNow()
    for call in waiting {
      guard let root = call.recorded.root, let memory else { continue }
      let verification = Verifier(profile: try profile(), memory: memory).verify(
        call.recorded.call, root: root)
      if !verification.agrees && !call.hasReturned(before: place)
        && target.isInside(call.recorded.call.function, call.place)
      {
        running.append(call)
        continue
      }
      verified.append((call.recorded, verification))
    }
    pending = running
    return verified
  }

  /// Guest memory while the guest stands still, for a search that looks at the same tables again and again.
  private func memoryNow() throws(TargetError) -> any PhysicalMemory {
    PageCache(of: try memory().source)
  }

  /// The recorded call made last that has not been verified yet.
  public var pendingCall: RecordedCall? { pending.last?.recorded }

  /// The call of `function` that was recorded at `place` and has not been verified yet.
  public func recordedCall(_ function: String, at place: CallPlace) -> RecordedCall? {
    pending.last { $0.place == place && $0.recorded.call.function == function }?.recorded
  }

  /// Takes note of a request for a DMA cookie at its entry.
  public func cookieRequested(domain: KVA, callers: [String]) throws {
    let reader = StructureReader(layouts: structureLayouts(), kernel: try kernelMemory())
    let held = try reader.value("iova_cookie", of: "struct iommu_domain", at: domain)
    try requireStore().append(CookieRequest(domain: domain, held: held, callers: callers))
  }

  private func structureLayouts() -> StructureLayouts {
    let layouts = structures ?? StructureLayouts(target: target)
    structures = layouts
    return layouts
  }

  /// How the kernel has set up its devices, groups and domains now.
  public func kernelState() throws(TargetError) -> KernelState {
    KernelInspector(
      target: target, layouts: structureLayouts(), kernel: try kernelMemory(), driver: try layout(),
      mapFunction: try profile().functions.first { $0.kind == .map }?.symbol
    ).state()
  }

  /// The messages of the kernel's log, read from its memory.
  public func kernelLog() throws(TargetError) -> [KernelLogRecord] {
    let log: KernelLog = if let knownLog { knownLog } else { try KernelLog(in: target) }
    knownLog = log
    return try log.records(of: target, in: kernelMemory())
  }

  /// The checklist of the bring-up, as it stands now.
  public func probe() throws(TargetError) -> Probe {
    let state = try kernelState()
    let configuration = EmbeddedConfiguration(in: target, kernel: try kernelMemory())
    if let store { try? store.append(state) }
    // An imported one may be of another kernel; the kernel's own is not.
    if let store, case .found(let found) = configuration { _ = try? store.setFact(Fact.configuration, found.summary) }
    let (profile, registers) = (try profile(), try? registers())
    let waiting = registers.flatMap { registers in
      (try? memory()).flatMap { try? profile.device.faults(registers: registers, memory: $0.source, limit: 1 << 20) }
    }
    return Probe(
      state: state, paging: kernelPaging()?.paging, profile: profile, registers: registers,
      contexts: (try? contexts(for: state)) ?? [], waiting: waiting ?? [],
      hearsFaults: (try? layout())?.hearsFaults(target: target),
      configuration: configuration, imported: try? store?.facts()[Fact.configuration])
  }

  // MARK: Conclusions

  /// Reads registers and tables, stores them, and works out what follows from everything recorded.
  public func findings(reason: String, progress: WorkProgress? = nil) throws -> Findings {
    let store = try requireStore()
    // Without a guest, or room for what it would tell, the file itself still answers.
    if target.connection() == nil || store.readOnly != nil {
      return try Findings(offline: store, tenants: tenants, progress: progress)
    }
    if !unstored.isEmpty { try self.store() }
    let profile = try profile()
    let memory = try memory().source
    let registers = try? registers()
    if let registers { try store.append(registers) }
    let calls = try store.calls(progress: progress)
    let pages = TablePages.collect(
      contexts: (try? contexts()) ?? [], roots: Array(Set(calls.compactMap(\.root))),
      queued: TablePages.queued(by: profile.device, registers: registers, memory: memory), memory: memory,
      progress: progress)
    // A snapshot of half the tables would pass for all of them.
    if progress?.isStopped == true { throw WorkProgress.interruption(TablePages.work) }
    try store.append(snapshot: pages, reason: reason)
    if let state = try? kernelState(), !state.devices.isEmpty { try store.append(state) }
    return try Findings(
      store: store, profile: profile, memory: memory, registers: registers, running: pending.map(\.recorded),
      calls: calls, progress: progress)
  }
}
