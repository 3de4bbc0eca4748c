public import IOMMUModel
public import PageTables

/// The RISC-V IOMMU: a device directory with a context for each requester, up to two stages of page tables, an MSI page
/// table, and queues in memory (RISC-V IOMMU specification 1.0).
///
/// A translation is the specification's, changed by the ``Quirk``s of an ``Implementation``; where one shows it is named in
/// `DeviceTranslation.deviations`. Caches do not show in a translation by the tables: an implementation may answer from an
/// entry that was there once.
public struct RISCVIOMMUDevice: DeviceModel {
  /// The implementation modelled.
  public let implementation: Implementation

  /// QEMU 10.0's device.
  public init() { self.init(.qemu10) }

  /// The device as `implementation` has it.
  public init(_ implementation: Implementation) { self.implementation = implementation }

  /// The implementation's name.
  public var name: String { implementation.name }

  /// The registers that say something about translations. What TR_RESPONSE means differs.
  public var registers: [Register] {
    let translator = DebugInterface(device: self)
    return RISCVIOMMURegister.all.map { register in
      guard register.offset == translator.response else { return register }
      return Register(offset: register.offset, name: register.name) { value in
        value == 0 ? "no answer" : translator.answer(value).result.words
      }
    }
  }

  /// Where QEMU's `virt` maps those of `riscv-iommu-sys`; a PCI device's are where its BAR is.
  public var usualRegisterBlock: GPA? { GPA(0x301_0000) }

  /// QEMU's `riscv_iommu_memory_region_translate`.
  public var translateFunction: String? { "riscv_iommu_memory_region_translate" }

  /// Whether a directory translates: neither Off, which refuses everything, nor Bare.
  public func isEnabled(_ registers: RegisterValues) -> Bool {
    guard let value = registers[RISCVIOMMURegister.directory] else { return true }
    if case .directory = DirectoryPointer(rawValue: value).mode { return true }
    return false
  }

  /// FQCSR.fie, bit 1.
  public func raisesInterrupt(_ registers: RegisterValues) -> Bool? {
    registers[RISCVIOMMURegister.faultControl].map { $0 >> 1 & 1 == 1 }
  }

  /// None: faults are queued in memory and hinder no later access.
  public func latchedFault(_ registers: RegisterValues) -> LatchedFault? { nil }

  /// Nothing is latched.
  public func resumed(_ registers: RegisterValues) -> (registers: RegisterValues, how: String) {
    (registers, "nothing is latched: faults are queued in memory and hinder no later access")
  }

  /// The records between FQH and FQT.
  public func faults(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [LatchedFault] {
    try FaultQueue(registers)?.waiting(in: memory, limit: limit).map(\.fault) ?? []
  }

  /// The contexts of all requesters with a valid device context, at most `limit`; ends where a directory leads on and on.
  public func contexts(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [DeviceContext] {
    let pages = PageCache(of: memory)
    var found: [DeviceContext] = []
    for device in try DirectoryScan(registers, memory: pages, limit: limit).devices {
      found.append(try context(of: RequesterID(rawValue: device), registers: registers, memory: pages))
    }
    return found
  }

  /// The context of `requester` by the specification, for accesses without a process: those of process 0 where the device
  /// context says so (DPE).
  public func context(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> DeviceContext {
    let transaction = Transaction(requester: requester, iova: IOVA(0), access: .read)
    let (start, trace) = start(transaction, registers: registers, memory: memory, implementation: .specification)
    let translation: DeviceContext.Translation
    var descriptor: GPA?
    switch start {
    case .success(let stages):
      descriptor = stages.first?.root.address
      translation =
        stages.first == nil && stages.second == nil
        ? .bypassed(stages.bypass)
        : .translated(firstStage: stages.first?.root, secondStage: stages.second?.root)
    case .failure(.fault(let cause, let why)):
      translation = .refused("cause \(cause)" + (why.map { ": \($0)" } ?? ""))
    case .failure(.unreadable(let failure)): throw failure
    }
    return DeviceContext(
      requester: requester, words: trace.words, translation: translation, descriptor: descriptor)
  }

  /// What the implementation does with one access without a process.
  public func translate(
    _ iova: IOVA, access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> DeviceTranslation {
    translate(
      Transaction(requester: requester, iova: iova, access: access), registers: registers, memory: memory)
  }

  /// What the implementation does with one access.
  public func translate(
    _ transaction: Transaction, registers: RegisterValues, memory: any PhysicalMemory
  ) -> DeviceTranslation {
    var (start, trace) = start(
      transaction, registers: registers, memory: memory, implementation: implementation)
    let result: DeviceTranslation.Result
    switch start {
    case .success(let stages):
      result = stages.translate(transaction.iova, need: transaction.need, trace: &trace)
    case .failure(let stop): result = stop.result
    }
    return DeviceTranslation(
      words: trace.words, steps: trace.steps, result: result, latched: nil, deviations: trace.deviations)
  }

  /// The same for many pages, with one look-up of the contexts.
  public func translator(
    access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> any DeviceTranslator {
    let transaction = Transaction(requester: requester, iova: IOVA(0), access: access)
    let (start, trace) = start(transaction, registers: registers, memory: memory, implementation: implementation)
    return RISCVIOMMUTranslator(start, last: trace.steps.last, need: transaction.need)
  }
}

extension RISCVIOMMUDevice {
  /// What an access comes to before its address matters: section 2.3, steps 1 to 16.
  func start(
    _ transaction: Transaction, registers: RegisterValues, memory: any PhysicalMemory, implementation: Implementation
  ) -> (Result<Stages, Stop>, Trace) {
    do throws(Stop) {
      var lookup = try DirectoryLookup(registers, memory: memory, implementation: implementation)
      do throws(Stop) {
        return (.success(try lookup.stages(for: transaction)), lookup.trace)
      } catch { return (.failure(error), lookup.trace) }
    } catch { return (.failure(error), Trace()) }
  }
}

extension DirectoryLookup {
  /// The stages that translate `transaction`.
  mutating func stages(for transaction: Transaction) throws(Stop) -> Stages {
    let levels: Int
    switch pointer.mode {
    case .off: throw Stop.fault(RISCVIOMMUFault.off, "DDTP is Off")
    case .bare: return Stages(bypass: "DDTP is Bare", memory: memory, implementation: implementation)
    case .reserved(let mode): throw Stop.fault(RISCVIOMMUFault.directoryMisconfigured, "DDTP mode \(mode) is reserved")
    case .directory(let count): levels = count
    }
    let context = try deviceContext(of: transaction.requester.rawValue, levels: levels)
    if implementation.has(.probesAreATSRequests), transaction.need == [], !context.allowsATS {
      trace.note("an access that wants nothing is taken for an ATS request, which the device context does not allow")
      throw Stop.fault(RISCVIOMMUFault.disallowed, "EN_ATS is 0")
    }
    try checkProcess(transaction, context)
    let second = try secondStage(context)
    var first: StageWalker?
    var addressSpace = context.addressSpace
    var bypass = "fsc and iohgatp are Bare"
    if !context.hasProcessDirectory {
      if let mode = DeviceContextEntry.firstStageMode(context.firstStage >> 60, is32Bit: context.is32Bit) {
        first = firstStage(context.firstStage, mode, .user, context, second)
      }
    } else if let process = transaction.process ?? (context.hasDefaultProcess ? 0 : nil) {
      if context.firstStage >> 60 != 0 {
        let found = try processContext(of: process, in: context, need: transaction.need, under: second)
        if transaction.isPrivileged && !found.allowsPrivilege {
          throw Stop.fault(RISCVIOMMUFault.disallowed, "ENS of process \(process) is 0")
        }
        let privilege: EntryRules.Privilege =
          !transaction.isPrivileged ? .user : found.permitsUserPages ? .supervisorAndUser : .supervisor
        if let mode = DeviceContextEntry.firstStageMode(found.firstStage >> 60, is32Bit: context.is32Bit) {
          first = firstStage(found.firstStage, mode, privilege, context, second)
          addressSpace = found.addressSpace
        }
      }
    } else {
      bypass = "accesses without a process have no first stage (DPE is 0)"
    }
    let tags = CacheTags(
      addressSpace: first == nil ? nil : addressSpace, guest: second == nil ? nil : context.guest)
    return Stages(
      first: first, second: second, messages: messages(context), bypass: bypass, is32Bit: context.is32Bit, tags: tags,
      memory: memory, implementation: implementation)
  }

  /// Step 7: a process where there is no directory, or one that is too wide for it.
  private func checkProcess(_ transaction: Transaction, _ context: DeviceContextEntry) throws(Stop) {
    guard let process = transaction.process else { return }
    guard context.hasProcessDirectory else {
      throw Stop.fault(RISCVIOMMUFault.disallowed, "a process without PDTV")
    }
    let widths: [UInt64: UInt32] = [1: 8, 2: 17, 3: 20]
    if let width = widths[context.firstStage >> 60], process >> width != 0 {
      throw Stop.fault(RISCVIOMMUFault.disallowed, "process \(process) has more than \(width) bits")
    }
  }

  private func secondStage(_ context: DeviceContextEntry) throws(Stop) -> StageWalker? {
    let code = context.secondStage >> 60
    if code == 0 { return nil }
    guard !features.isGuest32Bit, let mode = DeviceContextEntry.secondStageMode(code) else {
      throw Stop.unreadable(
        UnreadableMemory(
          address: DeviceContextEntry.address(context.secondStage), reason: "Sv32x4 tables are not decoded",
          isUnrecorded: true))
    }
    let rules = EntryRules(
      mode: mode, isBigEndian: features.isBigEndian, privilege: .user, hasMemoryTypes: capabilities.hasMemoryTypes,
      updates: context.updatesSecondStage, implementation: implementation)
    return StageWalker(
      root: TableRoot(address: DeviceContextEntry.address(context.secondStage), mode: mode), rules: rules,
      memory: memory, under: nil, implementation: implementation, setsBits: false)
  }

  private func firstStage(
    _ pointer: UInt64, _ mode: PagingMode, _ privilege: EntryRules.Privilege, _ context: DeviceContextEntry,
    _ second: StageWalker?
  ) -> StageWalker {
    let rules = EntryRules(
      mode: mode, isBigEndian: context.isBigEndian, privilege: privilege, hasMemoryTypes: capabilities.hasMemoryTypes,
      updates: context.updatesFirstStage, implementation: implementation)
    return StageWalker(
      root: TableRoot(address: DeviceContextEntry.address(pointer), mode: mode), rules: rules, memory: memory,
      under: second, implementation: implementation,
      setsBits: context.updatesFirstStage && capabilities.updatesAccessed)
  }

  private func messages(_ context: DeviceContextEntry) -> MessageTable? {
    guard capabilities.hasMessageTables, context.messageTable >> 60 == 1 else { return nil }
    return MessageTable(
      address: DeviceContextEntry.address(context.messageTable), mask: context.messageMask,
      pattern: context.messagePattern, isBigEndian: features.isBigEndian,
      allowsMemoryFiles: capabilities.hasInterruptFilesInMemory)
  }
}
