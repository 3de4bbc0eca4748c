import GuestMemory
public import IOMMUModel
public import PageTables

/// A debugger session on QEMU itself: the device seen from the inside, and the translations it makes, recorded.
///
/// Not for use from several threads: a debugger is single-threaded, and stops all of QEMU's threads at every hit.
public final class DeviceInvestigator {
  /// The debugger.
  public let target: any HostTarget
  private let tenants: [any Tenant.Type]
  private let openStore: () -> InvestigationStore?

  /// What the user prefers; a change takes effect at once.
  public var memoryPreference = Investigator.MemoryPreference.auto { didSet { knownMemory = nil } }

  // Found once, forgotten when symbols or the process change.
  private var known: Known?
  private var isMissing = false
  private var knownDevice: (object: HVA, block: GPA)?
  private var knownMemory: ResolvedMemory?
  // Forgotten when QEMU has run.
  private var knownHost: HostMemory?
  private var knownMachine: HostMachine?
  private var clients: [HVA: DeviceClient] = [:]

  private struct Known {
    let implementation: any DeviceImplementation
    let layout: any DeviceLayout
    let answer: AnswerLayout
  }

  /// What is to be recorded and where QEMU should stop.
  public private(set) var rules: [TranslationRule] = []
  private var runs = TranslationRuns()
  /// Runs that could not be stored when they ended: the disk was full, or the file was gone.
  private var unstored: [RecordedTranslation] = []
  /// What was last stored about the rules, and in which file.
  private var noted: (file: String, scopes: [TranslationWatch.Scope])?
  /// Translations that have been entered, by where their answer will be: several threads may be in one.
  private var entered: [HVA: Entered] = [:]
  /// The device that last asked.
  public private(set) var asking: RequesterID?
  /// The translation at whose entry the user was last stopped, until its answer is known, and then that.
  private var shown: HVA?
  private var shownAnswer: RecordedTranslation?
  /// The translation with a wrong answer that QEMU is stopped for.
  private var mismatch: RecordedTranslation?

  private struct Entered {
    let question: TranslationRuns.Question
    let client: DeviceClient
    let asker: RecordedTranslation.Asker?
  }

  /// A session on the QEMU that `target` holds, for the devices of `tenants`; `store` gives the investigation in use.
  public init(
    target: any HostTarget, tenants: [any Tenant.Type], store: @escaping () -> InvestigationStore?
  ) {
    self.target = target
    self.tenants = tenants
    self.openStore = store
  }

  // MARK: What is known of QEMU

  /// Forgets everything: other symbols, another process.
  public func forgetTarget() {
    (known, isMissing, knownDevice, knownMemory) = (nil, false, nil, nil)
    entered = [:]
    targetRan()
    (asking, shown, shownAnswer, mismatch) = (nil, nil, nil, nil)
  }

  /// Forgets what changes while QEMU runs.
  public func targetRan() {
    knownMemory?.targetRan()
    knownHost = nil
    // QEMU makes a new view of its memory, and frees the old one, when a region is moved.
    knownMachine = nil
    // The guest may give its buses other numbers.
    clients = [:]
  }

  /// The device in the symbols; nil when no device known here is.
  public func implementation() -> (any DeviceImplementation)? {
    if let known { return known.implementation }
    if isMissing { return nil }
    for implementation in tenants.flatMap({ $0.implementations }) {
      // A symbol's address reads no memory, so this works before QEMU runs.
      if (try? target.evaluate("(unsigned long)&\(implementation.function.symbol)")) != nil { return implementation }
    }
    isMissing = true
    return nil
  }

  private func knowledge() throws(TargetError) -> Known {
    if let known { return known }
    guard let implementation = implementation() else {
      throw TargetError("No IOMMU of QEMU known here is in the symbols: load QEMU with its debug information.")
    }
    let architecture = target.architecture()
    guard architecture == "i386:x86-64" else {
      throw TargetError("This QEMU is a program for \(architecture); its calls are read on i386:x86-64.")
    }
    let found = Known(
      implementation: implementation, layout: try implementation.layout(in: target),
      answer: try AnswerLayout(in: target))
    known = found
    return found
  }

  /// The registers of a thread that has just stopped. Asking the debugger costs some 30 µs a stop more, because it makes a
  /// frame of the stack first.
  private func registers(of thread: Int32) throws(TargetError) -> ThreadRegisters {
    if let registers = ThreadRegisters(ofTracedThread: thread) { return registers }
    return ThreadRegisters(
      rdi: try target.evaluate("$rdi"), rsi: try target.evaluate("$rsi"), rdx: try target.evaluate("$rdx"),
      rcx: try target.evaluate("$rcx"), rax: try target.evaluate("$rax"))
  }

  /// QEMU's memory: process_vm_readv where the debugger holds a process, else through the debugger.
  private var host: HostMemory {
    if let knownHost { return knownHost }
    let target = self.target
    let process = target.process().map(ProcessBytes.init)
    let host = HostMemory { address, count throws(TargetError) in
      if let bytes = process?.read(address, count: count) { return bytes }
      return try target.read(address, count: count)
    }
    knownHost = host
    return host
  }

  private func machine() throws(TargetError) -> HostMachine {
    if let knownMachine { return knownMachine }
    let machine = try HostMachine(target, memory: host)
    knownMachine = machine
    return machine
  }

  /// The device's object and register block, the first one where there are several.
  private func instance() throws(TargetError) -> (object: HVA, block: GPA) {
    if let knownDevice { return knownDevice }
    guard target.process() != nil else {
      throw TargetError("QEMU is not running: `run` starts it, `attach PID` joins one that runs.")
    }
    let name = try knowledge().implementation.typeName
    guard let found = try machine().devices(ofType: name).first else {
      throw TargetError("This machine has no \(name), or has not been set up yet.")
    }
    knownDevice = found
    return found
  }

  // MARK: The investigation file

  private func requireStore() throws(InvestigationError) -> InvestigationStore {
    guard let store else { throw InvestigationError("No investigation is open: `iommu open [FILE]` starts one.") }
    return store
  }

  /// Stores what is known of QEMU at a stop.
  public func recordFacts() throws(InvestigationError) {
    guard let store, store.readOnly == nil, let implementation = implementation() else { return }
    try store.setFact(Fact.device, implementation.model.name)
  }

  /// Stores the run that is still growing, and what is recorded from now on, so that everybody sees it.
  public func flush() throws(InvestigationError) {
    guard let store, store.readOnly == nil else { return }
    try append(runs.handOut(), to: store)
    try noteScopes(in: store)
  }

  /// Stores a run that has ended, after those that could not be stored when they ended.
  private func append(_ run: RecordedTranslation?, to store: InvestigationStore) throws(InvestigationError) {
    if let run { unstored.append(run) }
    if unstored.isEmpty { return }
    try store.append(unstored)
    unstored = []
  }

  /// Stores which translations are recorded from now on, where that has changed: what the device was not seen to ask for can
  /// be told by it.
  private func noteScopes(in store: InvestigationStore) throws(InvestigationError) {
    let scopes = rules.filter { $0.stop != .never || !$0.isDone }.map {
      TranslationWatch.Scope(iovas: $0.iovas, requester: $0.requester)
    }
    let known = noted?.file == store.path ? noted?.scopes ?? [] : []
    if scopes == known { return }
    try store.append(watching: scopes)
    noted = (store.path, scopes)
  }

  // MARK: Translations

  /// Adds a rule.
  public func watch(_ rule: TranslationRule) { rules.append(rule) }

  /// Drops the rules that stop QEMU, or those that only record.
  public func dropRules(thatStop: Bool) { rules.removeAll { ($0.stop != .never) == thatStop } }

  /// Whether a translation could still be recorded, so that the function has to be watched.
  public var isWatching: Bool { rules.contains { $0.stop != .never || !$0.isDone } }

  /// What a translation asks for, from its arguments.
  private func question(
    region: UInt64, address: UInt64, access: UInt64, place: HVA
  ) throws(TargetError) -> (TranslationRuns.Question, DeviceClient) {
    let known = try knowledge()
    let region = HVA(region)
    let client: DeviceClient
    if let met = clients[region] {
      client = met
    } else {
      client = try known.layout.client(region, in: host)
      clients[region] = client
    }
    let question = TranslationRuns.Question(
      requester: client.requester, iova: IOVA(address), access: UInt8(exactly: access).flatMap(Access.init),
      place: place, before: try known.layout.registers(client.state, in: host))
    return (question, client)
  }

  /// Takes note of a translation at whose entry `thread` stands; whether QEMU should stop there.
  public func enter(thread: Int32) throws -> Bool { try enter(registers(of: thread)) }

  /// Takes note of the answer of a translation at whose return instruction `thread` stands; whether QEMU should stop for it.
  public func leave(thread: Int32) throws -> Bool { try leave(registers(of: thread)) }

  /// System V ABI for x86-64, 3.2.3: `IOMMUTLBEntry` is larger than 16 bytes, so the caller passes where it wants the answer
  /// in rdi, before the parameters.
  func enter(_ registers: ThreadRegisters) throws -> Bool {
    let place = HVA(registers.rdi)
    entered[place] = nil
    // `IOMMUAccessFlags` has 32 bits; the register's upper half is not its.
    let (question, client) = try question(
      region: registers.rsi, address: registers.rdx, access: registers.rcx & 0xffff_ffff, place: place)
    let isFirst = !runs.continues(question)
    asking = question.requester
    // A rule that has done its work still has its last run completed.
    guard
      rules.contains(where: {
        isFirst ? $0.records(question.iova, question.requester) : $0.covers(question.iova, question.requester)
      })
    else { return false }
    entered[place] = Entered(
      question: question, client: client, asker: isFirst ? asker(device: client.name) : nil)
    guard isFirst else { return false }
    var stops = false
    for index in rules.indices where rules[index].countsEntry(question.iova, question.requester) { stops = true }
    if stops { shown = place }
    // A rule may have done its work: its last run is still completed.
    if let store { try noteScopes(in: store) }
    return stops
  }

  /// The same ABI: the function gives the address of its answer back in rax.
  func leave(_ registers: ThreadRegisters) throws -> Bool {
    let place = HVA(registers.rax)
    // One that was entered before anybody watched, or is of no interest.
    guard let start = entered.removeValue(forKey: place) else { return false }
    let known = try knowledge()
    let (iova, answer) = try known.answer.read(at: place, in: host)
    guard iova == start.question.iova else { return false }
    let after = try known.layout.registers(start.client.state, in: host)
    if let ended = runs.add(start.question, answer: answer, after: after, asker: start.asker) {
      try append(ended, to: requireStore())
    }
    let returned = RecordedTranslation(
      requester: start.question.requester, iova: iova, access: start.question.access, answer: answer,
      before: start.question.before, after: after, asker: start.asker)
    if shown == place { (shown, shownAnswer) = (nil, returned) }
    guard rules.contains(where: { $0.stop == .mismatch && !$0.isDone }), try isMismatch(start.question, answer) else {
      return false
    }
    var stops = false
    for index in rules.indices
    where rules[index].countsMismatch(iova, start.question.requester) { stops = true }
    if stops { mismatch = returned }
    return stops
  }

  private func asker(device: String?) -> RecordedTranslation.Asker? {
    guard let symbol = try? knowledge().implementation.function.symbol else { return nil }
    let names = target.callers(of: symbol, limit: AccessPath.limit)
    return AccessPath.asker(names, device: device) { target.argument($0, ofCaller: $1, above: symbol) }
  }

  /// Whether an answer is not what it should be: a refusal, or an address other than the one that the tables give by the
  /// specification.
  private func isMismatch(
    _ question: TranslationRuns.Question, _ answer: RecordedTranslation.Answer
  ) throws -> Bool {
    if answer.access == .none { return question.access != Access.none }
    // QEMU has run since the hit before.
    knownMemory?.remote?.invalidate()
    guard let requester = question.requester, let context = try? context(of: requester, question.before),
      let root = context.firstStage
    else { return false }
    let walk = root.mode.geometry.walk(question.iova, root: root.address, in: try memory().source)
    return walk.target != answer.address
  }

  private func context(of requester: RequesterID, _ registers: RegisterValues) throws -> DeviceContext {
    try device().context(of: requester, registers: registers, memory: memory().source)
  }

  /// A translation as a person is told of it.
  public struct Sight {
    /// Who asks for what, and in which state the device is; the answer where it is known.
    public let translation: RecordedTranslation
    /// The walk by the specification; nil where the device has no table for the requester.
    public let walk: Walk?
    /// What the device's model makes of it in the state before.
    public let expected: DeviceTranslation?
    /// The driver's last recorded call about the address; nil when there is none.
    public let call: RecordedCall?
  }

  /// The translation at whose entry, or wrong answer, QEMU stands; nil when it stands elsewhere.
  public func stopped() -> Sight? {
    if let shown, let start = entered[shown] {
      return sight(
        RecordedTranslation(
          requester: start.question.requester, iova: start.question.iova, access: start.question.access, answer: nil,
          before: start.question.before, asker: start.asker))
    }
    defer { mismatch = nil }
    return mismatch.map(sight)
  }

  /// The translation whose entry the user was shown, once its answer is known; nil else, and the second time.
  public func answered() -> RecordedTranslation? {
    defer { shownAnswer = nil }
    return shownAnswer
  }

  /// What the arguments of a translation that the selected thread is in mean: `region`, `address`, `access` as
  /// `DeviceFunction` names them.
  public func describe(region: UInt64, address: UInt64, access: UInt64) throws -> Sight {
    let (question, client) = try question(
      region: region, address: address, access: access & 0xffff_ffff, place: HVA(0))
    return sight(
      RecordedTranslation(
        requester: question.requester, iova: question.iova, access: question.access, answer: nil,
        before: question.before, asker: asker(device: client.name)))
  }

  private func sight(_ translation: RecordedTranslation) -> Sight {
    var walk: Walk?
    var expected: DeviceTranslation?
    if let requester = translation.requester, let memory = try? memory().source, let device = try? device() {
      if let root = (try? context(of: requester, translation.before))?.firstStage {
        walk = root.mode.geometry.walk(translation.iova, root: root.address, in: memory)
      }
      expected = device.translate(
        translation.iova, access: translation.access ?? .read, requester: requester, registers: translation.before,
        memory: memory)
    }
    let call = translation.requester.flatMap { try? store?.lastCall(covering: translation.iova, of: $0) } ?? nil
    return Sight(translation: translation, walk: walk, expected: expected, call: call)
  }

  // MARK: Conclusions

  /// Reads registers and tables, stores them, and works out what follows from everything in the file. The driver's profile
  /// is the one that the file names.
  public func findings(reason: String, progress: WorkProgress? = nil) throws -> Findings {
    let store = try requireStore()
    guard target.process() != nil, store.readOnly == nil else {
      return try Findings(offline: store, tenants: tenants, progress: progress)
    }
    let profile = try Findings.profile(of: store, tenants: tenants)
    let memory = try memory().source
    let registers = try registers()
    try store.append(registers)
    let calls = try store.calls(progress: progress)
    let pages = TablePages.collect(
      contexts: (try? contexts()) ?? [], roots: Array(Set(calls.compactMap(\.root))),
      queued: TablePages.queued(by: profile.device, registers: registers, memory: memory), memory: memory,
      progress: progress)
    if progress?.isStopped == true { throw WorkProgress.interruption(TablePages.work) }
    try store.append(snapshot: pages, reason: reason)
    // The debugger on the kernel verifies a call when the next one comes: the last one may not have returned.
    let verified = try store.verifications()
    let running = calls.suffix(1).filter { call in
      call.origin == nil && call.root != nil && call.id.map { verified[$0] == nil } ?? false
    }
    return try Findings(
      store: store, profile: profile, memory: memory, registers: registers, running: running, progress: progress)
  }
}

extension DeviceInvestigator: DeviceView {
  /// The investigation in use.
  public var store: InvestigationStore? { openStore() }

  /// The device's model.
  public func device() throws(TargetError) -> any DeviceModel { try knowledge().implementation.model }

  /// The registers, from the device's state.
  public func registers() throws(TargetError) -> RegisterValues {
    try knowledge().layout.registers(instance().object, in: host)
  }

  /// Where the guest sees the registers.
  public func registerBlock() throws(TargetError) -> GPA { try instance().block }

  /// Guest memory: the RAM file, else the process's memory, else through GDB.
  public func memory() throws(TargetError) -> (source: any PhysicalMemory, explanation: String) {
    if let known = knownMemory, known.isCurrent() {
      knownMemory?.settle()
      return (known.source, known.explanation)
    }
    guard let process = target.process() else {
      throw TargetError("No guest memory: QEMU is not running. `run` starts it, `attach PID` joins one that runs.")
    }
    let (target, preference) = (self.target, memoryPreference)
    let places = try places()
    let reader: CallableMemory.Reader = { address, count in
      guard let place = places.first(where: { $0.region.range.contains(address) }), let host = place.host else {
        throw TargetError("outside guest RAM")
      }
      return try target.read(host + (address - place.region.range.start), count: count)
    }
    let found = ResolvedMemory(
      locate: { [weak self] in try self?.places() ?? places },
      open: {
        guard preference == .auto else { throw TargetError("`set iommu memory remote` asks for it") }
        return try GuestMemoryResolver(process: QEMUProcess(pid: process), monitor: nil, debugger: reader).resolve($0)
      }, slow: "GDB", reader: reader)
    knownMemory = found
    return (found.source, found.explanation)
  }

  /// Where memory lies by QEMU's own structures.
  private func places() throws(TargetError) -> [GuestMemoryResolver.Place] {
    let machine = try machine()
    return try machine.ranges().compactMap { range in
      guard let memory = range.memory else { return nil }
      let region = RAMRegion(
        range: range.addresses, kind: memory.kind, name: machine.name(of: range.region), offset: range.offset)
      return GuestMemoryResolver.Place(region: region, host: memory.host)
    }
  }

  /// Domains are the driver's.
  public func domain(_ pointer: KVA) throws(TargetError) -> Domain {
    throw TargetError(
      "-domain names a domain of the kernel's driver: that works in the GDB on the kernel. Here, -device.")
  }

  /// Nobody's: domains are the driver's.
  public func requester(of domain: Domain) -> RequesterID? { nil }
}

/// Where QEMU's `IOMMUTLBEntry` keeps what a translation answers, from debug information.
private struct AnswerLayout {
  let size: Int
  let iova, address, mask, access: Int

  init(in target: any Target) throws(TargetError) {
    let type = "IOMMUTLBEntry"
    let size = min(try target.evaluate("sizeof(\(type))"), 4096)
    func offset(_ member: String) throws(TargetError) -> Int {
      let offset = try target.offset(of: member, in: type)
      guard offset <= 4096, offset + 8 <= size else { throw TargetError("\(type) of \(size) bytes is not understood.") }
      return Int(offset)
    }
    (iova, address) = (try offset("iova"), try offset("translated_addr"))
    (mask, access) = (try offset("addr_mask"), try offset("perm"))
    self.size = Int(truncatingIfNeeded: size)
  }

  /// The entry at `place`. Below its mask an address is the one that was asked for: QEMU's memory layer puts it together
  /// (`address_space_translate_iommu`), and a device that answers from a cache leaves it out.
  func read(
    at place: HVA, in memory: HostMemory
  ) throws(TargetError) -> (iova: IOVA, answer: RecordedTranslation.Answer) {
    let bytes = try memory.bytes(at: place, count: size)
    func word(_ offset: Int) -> UInt64 { bytes[offset..<offset + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) } }
    let (asked, mask) = (word(iova), word(mask))
    return (
      IOVA(asked),
      RecordedTranslation.Answer(
        address: GPA(word(address) & ~mask | asked & mask), mask: mask,
        access: Access(rawValue: UInt8(word(access) & 3)) ?? .none)
    )
  }
}
