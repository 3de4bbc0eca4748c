import PageTables

/// A processor that QEMU emulates, and where it leaves the specification.
struct Processor {
  let name: String
  let isWide: Bool
  /// QEMU's `-cpu`.
  let model: String
  let modes: [PagingMode]
  let departures: [Departure]

  static let all = [
    Processor(
      name: "RV64 with Svnapot and Svpbmt", isWide: true, model: "rv64,svnapot=on,svpbmt=on",
      modes: PagingMode.allCases.filter { $0 != .sv32 },
      departures: [
        .missingTable, .signedGuestAddress, .guestMXR, .reservedBits, .reservedMemoryType, .earlyMark,
      ]),
    Processor(
      name: "RV64 without them", isWide: true, model: "rv64", modes: PagingMode.allCases.filter { $0 != .sv32 },
      departures: [.missingTable, .signedGuestAddress, .guestMXR, .noExtension]),
    Processor(
      name: "RV32", isWide: false, model: "rv32", modes: [.sv32],
      departures: [.missingTable, .shortAddress]),
  ]
}

/// One way in which a processor of QEMU 7.2 differs from the specification: what it does instead.
struct Departure: Sendable {
  let name: String
  /// The entry that the processor acts on.
  var entry: @Sendable (UInt64) -> UInt64 = { $0 }
  /// The address that it translates; nil when it refuses.
  var address: @Sendable (UInt64, PagingMode) -> UInt64? = { address, _ in address }
  /// The physical address that it reaches.
  var target: @Sendable (UInt64) -> UInt64 = { $0 }
  /// Whether a table that is not in memory is like an entry that is not valid.
  var refusesMissingTables = false
  /// Whether a guest's loads take no notice of mstatus.MXR.
  var ignoresMXR = false
  /// Whether A and D are set in a leaf before N is looked at.
  var marksBeforeN = false

  static let missingTable = Departure(
    name: "a table outside memory is a page fault, not an access fault", refusesMissingTables: true)

  static let signedGuestAddress = Departure(
    name: "a second stage's address is extended by its highest bit, not by zeros",
    address: { address, mode in
      guard mode.isSecondStage else { return address }
      let above = Int64(bitPattern: address) >> Int64(mode.inputBits - 1)
      return above == 0 || above == -1 ? address & (1 << UInt64(mode.inputBits) - 1) : nil
    })

  static let guestMXR = Departure(
    name: "mstatus.MXR makes no executable page of a second stage readable", ignoresMXR: true)

  static let reservedBits = Departure(
    name: "bits 60:54 of an entry are ignored", entry: { $0 & ~0x1fc0_0000_0000_0000 })

  static let reservedMemoryType = Departure(
    name: "a leaf's PBMT may be 3",
    entry: { $0 & 0xe != 0 && $0 >> 61 & 3 == 3 ? $0 & ~(3 << 61) : $0 })

  static let earlyMark = Departure(
    name: "A and D are set in a leaf that is refused for its N", marksBeforeN: true)

  static let shortAddress = Departure(
    name: "a physical address has 32 bits in place of Sv32's 34", target: { $0 & 0xffff_ffff })

  static let noExtension = Departure(
    name: "N and PBMT are reserved bits without their extensions", entry: { $0 >> 61 == 0 ? $0 : 0 })
}

/// Memory whose entries a processor takes for others.
struct Misread: PhysicalMemory {
  let memory: GuestRAM
  let departures: [Departure]

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    try memory.read(address, into: buffer)
    guard buffer.count == 8 else { return }
    let entry = departures.reduce(UInt64(littleEndian: buffer.loadUnaligned(as: UInt64.self))) { $1.entry($0) }
    buffer.storeBytes(of: entry.littleEndian, as: UInt64.self)
  }
}
