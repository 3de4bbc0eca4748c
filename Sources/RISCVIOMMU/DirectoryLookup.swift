import IOMMUModel
import PageTables

/// The way to a requester's contexts (sections 2.3.1 and 2.3.2): the device directory and, where the device context has one,
/// the process directory.
struct DirectoryLookup {
  let pointer: DirectoryPointer
  let capabilities: Capabilities
  let features: FeatureControl
  let memory: DeviceMemory
  let implementation: Implementation
  var trace = Trace()

  init(_ registers: RegisterValues, memory: any PhysicalMemory, implementation: Implementation) throws(Stop) {
    func value(_ offset: UInt64, _ name: String) throws(Stop) -> UInt64 {
      guard let value = registers[offset] else {
        throw Stop.unreadable(
          UnreadableMemory(address: GPA(offset), reason: "the register \(name) is not known", isUnrecorded: true))
      }
      return value
    }
    pointer = DirectoryPointer(rawValue: try value(RISCVIOMMURegister.directory, "DDTP"))
    switch pointer.mode {
    case .off, .bare: capabilities = Capabilities(rawValue: registers[RISCVIOMMURegister.capabilities] ?? 0)
    case .directory, .reserved:
      capabilities = Capabilities(rawValue: try value(RISCVIOMMURegister.capabilities, "CAPABILITIES"))
    }
    let features = FeatureControl(rawValue: registers[RISCVIOMMURegister.featureControl] ?? 0)
    if features.isBigEndian && implementation.has(.ignoresByteOrder) {
      trace.note("FCTL.BE is not looked at: everything is read as little-endian")
      self.features = FeatureControl(rawValue: features.rawValue & ~1)
    } else {
      self.features = features
    }
    self.memory = DeviceMemory(memory: memory, addressBits: capabilities.addressBits)
    self.implementation = implementation
  }

  /// The bits of a device id that index one context: 6 for contexts of 64 bytes, 7 for those of 32.
  private var leafBits: UInt64 { capabilities.hasMessageTables ? 6 : 7 }

  /// The doublewords of a context.
  var contextWords: Int { capabilities.hasMessageTables ? 8 : 4 }

  /// The lowest bit of a device id that indexes a table at `level`.
  func shift(atLevel level: Int) -> UInt64 { level == 0 ? 0 : leafBits + 9 * UInt64(level - 1) }

  /// The index of `device` at `level`: 9 bits above those of the leaf, and what is left of 24 at level 2.
  func index(of device: UInt32, atLevel level: Int) -> UInt64 {
    UInt64(device) >> shift(atLevel: level) & (entries(atLevel: level) - 1)
  }

  /// The entries of a directory table at `level`.
  func entries(atLevel level: Int) -> UInt64 {
    switch level {
    case 0: 1 << leafBits
    case 1: 512
    default: 1 << (24 - leafBits - 9)
    }
  }

  /// Reads a doubleword of a directory and keeps it under `name`.
  private mutating func read(
    _ name: String, at address: GPA, isBigEndian: Bool, fault: FaultCause
  ) throws(Stop) -> UInt64 {
    let word = try memory.word(at: address, isBigEndian: isBigEndian, fault: fault)
    trace.words.append(DeviceContext.Word(name: name, address: address, value: word))
    return word
  }

  /// What a pointer of the device directory leads to.
  func next(_ entry: UInt64) throws(Stop) -> GPA {
    if entry & 1 == 0 { throw Stop.fault(RISCVIOMMUFault.directoryInvalid, nil) }
    if entry & 0xffc0_0000_0000_03fe != 0 {
      throw Stop.fault(RISCVIOMMUFault.directoryMisconfigured, "reserved bits in a directory entry")
    }
    return DeviceContextEntry.address(entry >> 10)
  }

  /// The device context of `device`, checked.
  mutating func deviceContext(of device: UInt32, levels: Int) throws(Stop) -> DeviceContextEntry {
    let bits = leafBits + 9 * UInt64(levels - 1)
    guard levels == 3 ? device >> 24 == 0 : UInt64(device) >> bits == 0 else {
      throw Stop.fault(RISCVIOMMUFault.disallowed, "device id \(hex(UInt64(device))) has no place in \(levels) levels")
    }
    var table = pointer.root
    for level in stride(from: levels - 1, to: 0, by: -1) {
      let entry = try read(
        "DDT[\(level)]", at: table + index(of: device, atLevel: level) * 8, isBigEndian: features.isBigEndian,
        fault: RISCVIOMMUFault.directoryAccess)
      table = try next(entry)
    }
    let place = table + index(of: device, atLevel: 0) * UInt64(contextWords * 8)
    var words: [UInt64] = []
    for (position, name) in DeviceContextEntry.names.prefix(contextWords).enumerated() {
      words.append(
        try read(
          "DC.\(name)", at: place + UInt64(position * 8), isBigEndian: features.isBigEndian,
          fault: RISCVIOMMUFault.directoryAccess))
      // The rest of a context that is not valid may be anything.
      if position == 0 && words[0] & 1 == 0 { throw Stop.fault(RISCVIOMMUFault.directoryInvalid, nil) }
    }
    let context = DeviceContextEntry(words: words)
    try check(context)
    return context
  }

  private mutating func check(_ context: DeviceContextEntry) throws(Stop) {
    if context.isBigEndian && implementation.has(.ignoresByteOrder) {
      trace.note("SBE makes the device context misconfigured")
      throw Stop.fault(RISCVIOMMUFault.directoryMisconfigured, "SBE is 1")
    }
    guard let problem = context.misconfiguration(capabilities, features) else { return }
    guard implementation.has(.checksContextsLess) else {
      throw Stop.fault(RISCVIOMMUFault.directoryMisconfigured, problem)
    }
    if context.hasProcessDirectory && context.hasDefaultProcess && context.firstStage >> 60 > 3 {
      trace.note("a process directory's reserved mode is taken for a misconfigured process context")
      throw Stop.fault(RISCVIOMMUFault.processMisconfigured, problem)
    }
    guard let checked = context.seenByLessChecking.misconfiguration(capabilities, features) else {
      trace.note("the device context is used although misconfigured: \(problem)")
      return
    }
    let isBeyondModes = !context.hasProcessDirectory && context.firstStage >> 60 > 10
    if isBeyondModes { trace.note("a reserved first-stage mode is taken for a context that is not valid") }
    throw Stop.fault(isBeyondModes ? RISCVIOMMUFault.directoryInvalid : RISCVIOMMUFault.directoryMisconfigured, checked)
  }

  /// The process context of `process`, checked. The directory is reached through the second stage, where there is one.
  mutating func processContext(
    of process: UInt32, in context: DeviceContextEntry, need: Need, under: StageWalker?
  ) throws(Stop) -> ProcessContextEntry {
    let direct = implementation.has(.readsProcessDirectoryDirectly)
    var table = DeviceContextEntry.address(context.firstStage)
    let levels = Int(context.firstStage >> 60)
    if direct && under != nil {
      trace.note("the process directory is read at \(table), without the second stage")
    }
    func place(_ address: GPA, _ trace: inout Trace) throws(Stop) -> GPA {
      guard let under, !direct else { return address }
      return GPA(try under.walk(address.rawValue, need: .read, original: need, trace: &trace).target)
    }
    for level in stride(from: levels - 1, to: 0, by: -1) {
      let start = try place(table, &trace)
      let index = UInt64(process) >> (8 + 9 * UInt64(level - 1)) & 0x1ff
      let entry = try read(
        "PDT[\(level)]", at: start + index * 8, isBigEndian: context.isBigEndian, fault: RISCVIOMMUFault.processAccess)
      if entry & 1 == 0 { throw Stop.fault(RISCVIOMMUFault.processInvalid, nil) }
      if entry & 0xffc0_0000_0000_03fe != 0 {
        guard direct else {
          throw Stop.fault(RISCVIOMMUFault.processMisconfigured, "reserved bits in a directory entry")
        }
        trace.note("the process directory's entry at level \(level) is used although reserved bits are set")
      }
      table = DeviceContextEntry.address(entry >> 10)
    }
    let start = try place(table, &trace) + (UInt64(process) & 0xff) * 16
    let attributes = try read(
      "PC.ta", at: start, isBigEndian: context.isBigEndian, fault: RISCVIOMMUFault.processAccess)
    if attributes & 1 == 0 { throw Stop.fault(RISCVIOMMUFault.processInvalid, nil) }
    let firstStage = try read(
      "PC.fsc", at: start + 8, isBigEndian: context.isBigEndian, fault: RISCVIOMMUFault.processAccess)
    let found = ProcessContextEntry(attributes: attributes, firstStage: firstStage)
    if let problem = found.misconfiguration(is32Bit: context.is32Bit, capabilities) {
      throw Stop.fault(RISCVIOMMUFault.processMisconfigured, problem)
    }
    return found
  }
}

extension DeviceContextEntry {
  /// The context without what an implementation with the quirk `checksContextsLess` does not look at.
  fileprivate var seenByLessChecking: DeviceContextEntry {
    var seen = self
    seen.control &= 0xe7f
    seen.attributes &= 0xffff_f000
    seen.firstStage &= ~0x0fff_f000_0000_0000
    seen.messageTable &= ~0x0fff_f000_0000_0000
    seen.messageMask &= (1 << 52) - 1
    seen.messagePattern &= (1 << 52) - 1
    seen.reserved = 0
    seen.secondStage &= ~3
    // Without a default process the directory's mode is not looked at either.
    if hasProcessDirectory && firstStage >> 60 > 3 { seen.firstStage = 0 }
    return seen
  }
}
