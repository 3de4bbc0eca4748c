import GuestMemory
public import IOMMUModel
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
  private var knownLayout: (any DriverLayout)?
  private var knownMemory: (source: any PhysicalMemory, explanation: String)?
  private var remoteCache: CallableMemory?
  private var linearOffset: UInt64?
  // Forgotten when the guest has run.
  private var knownRegisters: RegisterValues?
  private var requesters: [GPA: RequesterID] = [:]

  /// The last recorded call, until it is verified.
  private var pending: RecordedCall?

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
    pending = nil
    forgetMemory()
  }

  private func forgetMemory() {
    knownMemory = nil
    remoteCache = nil
    linearOffset = nil
    targetRan()
  }

  /// Forgets what changes while the guest runs.
  public func targetRan() {
    remoteCache?.invalidate()
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
    throw TargetError(
      "No IOMMU driver known here is in the symbols: xt_iommu_map is missing. "
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
    if let knownMemory { return knownMemory }
    guard let connection = target.connection() else {
      throw TargetError("No guest: connect to QEMU's gdbstub first, `target remote :1234`.")
    }
    let target = self.target
    let reader: CallableMemory.Reader = { address, count in try target.read(address, count: count) }
    var found: (source: any PhysicalMemory, explanation: String)
    do {
      guard memoryPreference == .auto else { throw TargetError("`set iommu memory remote` asks for it") }
      let process = try processID > 0 ? QEMUProcess(pid: processID) : QEMUProcess(behind: connection)
      let resolved = try GuestMemoryResolver(
        process: process, monitor: { try target.monitor($0) }, debugger: reader
      ).resolve()
      found = (resolved.source, resolved.explanation)
    } catch {
      let ranges = try? RAMRegion.all(inMemoryTree: target.monitor(RAMRegion.memoryTreeCommand)).map(\.range)
      let remote = CallableMemory(ranges: ranges, reader: reader)
      remoteCache = remote
      found = (remote, "remote protocol, page by page: \(error)")
    }
    knownMemory = found
    return found
  }

  /// The kernel's linear map over guest memory.
  public func kernelMemory() throws(TargetError) -> KernelMemory {
    let memory = try memory().source
    let target = self.target
    let translate: (KVA) -> GPA? = { address in
      // HMP `gva2gpa` walks the CPU's page table: `gpa: 0x8084b000`, or `Unmapped`.
      guard let answer = try? target.monitor("gva2gpa \(address)") else { return nil }
      return answer.split(whereSeparator: \.isWhitespace).last.flatMap { UInt64($0.dropFirst(2), radix: 16) }.map(
        GPA.init)
    }
    if linearOffset == nil {
      for symbol in ["kernel_map.va_pa_offset", "va_pa_offset"] {
        if let offset = try? target.evaluate(symbol), offset != 0 {
          linearOffset = offset
          break
        }
      }
    }
    return KernelMemory(memory: memory, linearOffset: linearOffset ?? 0, translate: translate)
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
      // Each by itself: an unreadable offset ends a multi-word read. `000000002c000018: 0x0000000080b76000`.
      let answer = try target.monitor("xp /1gx \(block + register.offset)")
      guard let text = answer.split(separator: ":").last?.split(whereSeparator: \.isWhitespace).first,
        text.hasPrefix("0x"), let value = UInt64(text.dropFirst(2), radix: 16)
      else { continue }
      values.byOffset[register.offset] = value
    }
    guard !values.byOffset.isEmpty else {
      throw TargetError("No register of \(try profile().device.name) could be read at \(block).")
    }
    knownRegisters = values
    return values
  }

  /// The contexts of all requesters that the device knows.
  public func contexts() throws(TargetError) -> [DeviceContext] {
    do {
      return try profile().device.contexts(registers: registers(), memory: memory().source, limit: 4096)
    } catch let error as TargetError {
      throw error
    } catch {
      throw TargetError("\(error)")
    }
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

  /// The root that `requester` is translated by.
  public func root(of requester: RequesterID) throws(TargetError) -> TableRoot {
    let context: DeviceContext
    do {
      context = try profile().device.context(of: requester, registers: registers(), memory: memory().source)
    } catch let error as TargetError {
      throw error
    } catch {
      throw TargetError("\(error)")
    }
    switch context.translation {
    case .translated(let root?, _): return root
    case .translated(nil, _): throw TargetError("\(requester) has no first stage.")
    case .bypassed(let why), .refused(let why):
      throw TargetError("\(requester) is not translated: \(why). `iommu devices` lists who is.")
    }
  }

  // MARK: The investigation file

  /// Opens or resumes the investigation at `path`.
  public func open(_ path: String) throws(InvestigationError) {
    // Opening a file twice in one process and closing one of the two drops SQLite's locks on it (fcntl locks belong to the
    // process), under which another process could then cut the log.
    if let store, store.isSameFile(as: path) { return }
    let opened = try InvestigationStore(path: path, side: "kernel")
    store = opened
  }

  /// The investigation; an error when none is open.
  public func requireStore() throws(InvestigationError) -> InvestigationStore {
    guard let store else { throw InvestigationError("No investigation is open: `iommu open [FILE]` starts one.") }
    return store
  }

  /// Stores what is known of the kernel at a stop. What cannot be read is left as it was.
  public func recordFacts(debugger: String?, source: String?) throws(InvestigationError) {
    guard let store else { return }
    if let paging = kernelPaging(), paging.paging.mode != nil { try store.setFact(Fact.satp, hex(paging.satp)) }
    if let banner = try? target.string("linux_banner") {
      try store.setFact(Fact.banner, String(banner.split(separator: "\n").first ?? ""))
    }
    if let profile = try? profile() { try store.setFact(Fact.profile, profile.identifier) }
    if let source { try store.setFact(Fact.source, source) }
    if let debugger { try store.setFact(Fact.debugger, debugger) }
    if let memory = try? memory() { try store.setFact(Fact.memory, memory.explanation) }
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
  public var isWatching: Bool { pending != nil || rules.contains { $0.stop != .never || !$0.isDone } }

  /// What a call at its entry means for the session.
  public struct Hit: Sendable {
    /// Whether a rule wants the guest to stop here.
    public let stops: Bool
    /// The call before it, when its wrong entries are why the guest stops.
    public let mismatch: (call: RecordedCall, verification: Verification)?
  }

  /// Takes note of a call at its entry. The tables now are what the call before it left, so that one is verified first.
  public func hit(_ function: String, arguments: [UInt64]) throws -> Hit {
    let store = try requireStore()
    remoteCache?.invalidate()
    let previous = try verifyPending().flatMap { $0.verification.agrees ? nil : $0 }
    guard isWatching else { return Hit(stops: false, mismatch: nil) }
    let recorded = describe(try call(function, arguments: arguments))
    if rules.contains(where: { $0.records(recorded) }) { pending = try store.append(recorded) }
    var stops = false
    var tellsMismatch = false
    for index in rules.indices where rules[index].counts(recorded, mismatch: previous?.call) {
      stops = true
      if rules[index].stop == .mismatch { tellsMismatch = true }
    }
    return Hit(stops: stops, mismatch: tellsMismatch ? previous : nil)
  }

  /// Verifies the last recorded call, which must have returned; nil when there is none left to verify.
  @discardableResult
  public func verifyPending() throws -> (call: RecordedCall, verification: Verification)? {
    guard let call = pending, let id = call.id else { return nil }
    pending = nil
    guard let root = call.root else { return nil }
    let verification = Verifier(profile: try profile(), memory: try memory().source).verify(call.call, root: root)
    try requireStore().append(verification, of: id)
    return (call, verification)
  }

  /// The recorded call that has not been verified yet.
  public var pendingCall: RecordedCall? { pending }

  // MARK: Conclusions

  /// Reads registers and tables, stores them, and works out what follows from everything recorded.
  public func findings(reason: String) throws -> Findings {
    let store = try requireStore()
    // Without a guest the file itself still answers.
    if target.connection() == nil { return try Findings(offline: store, tenants: tenants) }
    let profile = try profile()
    let memory = try memory().source
    let registers = try? registers()
    if let registers { try store.append(registers) }
    let calls = try store.calls()
    let pages = TablePages.collect(
      contexts: (try? contexts()) ?? [], roots: Array(Set(calls.compactMap(\.root))), memory: memory)
    try store.append(snapshot: pages, reason: reason)
    return try Findings(
      store: store, profile: profile, memory: memory, registers: registers, running: pending, calls: calls)
  }
}
