import GuestMemory
import IOMMUModel
import PageTables

/// The machine as QEMU keeps it: what answers at a guest-physical address. Read from `address_space_memory`, with every
/// offset from debug information (QEMU 7.2 `softmmu/memory.c`, `include/exec/memory.h`).
struct HostMachine {
  /// A `FlatRange`: addresses that one memory region answers.
  struct Range {
    /// The addresses.
    let addresses: MemoryRange
    /// How far into its memory region they start.
    let offset: UInt64
    /// The `MemoryRegion`.
    let region: HVA
    /// What it is as memory, and where in QEMU it lies; nil for registers.
    let memory: (kind: RAMRegion.Kind, host: HVA)?
  }

  private let memory: HostMemory
  private let view: HVA
  private let offsets: Offsets

  /// Ranges believed; a machine has some dozens.
  private static let limit: UInt64 = 65536

  /// The machine of the process that `target` holds.
  init(_ target: any HostTarget, memory: HostMemory) throws(TargetError) {
    self.memory = memory
    offsets = try Offsets(target)
    let view = try target.evaluate("(unsigned long)address_space_memory.current_map")
    guard view != 0 else {
      throw TargetError("QEMU has not set its machine up yet: `continue` and interrupt it later.")
    }
    self.view = HVA(view)
  }

  /// The ranges, by address.
  func ranges() throws(TargetError) -> [Range] {
    let count = try memory.integer(at: view + offsets.count, size: 4)
    guard count <= Self.limit, let first = try memory.pointer(at: view + offsets.ranges) else {
      throw TargetError("QEMU's FlatView at \(view) has \(count) ranges: these symbols are not the process's.")
    }
    var found: [Range] = []
    for position in 0..<count {
      let place = first + position &* offsets.rangeSize
      guard let region = try memory.pointer(at: place + offsets.region) else { continue }
      let start = try memory.word(at: place + offsets.start)
      // Int128; only a range over the whole address space has an upper half, and that is no RAM.
      guard try memory.word(at: place + offsets.size + 8) == 0,
        let addresses = try? MemoryRange(start: GPA(start), size: memory.word(at: place + offsets.size))
      else { continue }
      let offset = try memory.word(at: place + offsets.regionOffset)
      found.append(
        Range(
          addresses: addresses, offset: offset, region: region, memory: try self.memory(of: region, offset: offset)))
    }
    return found
  }

  private func memory(of region: HVA, offset: UInt64) throws(TargetError) -> (kind: RAMRegion.Kind, host: HVA)? {
    func flag(_ place: UInt64) throws(TargetError) -> Bool { try memory.integer(at: region + place, size: 1) != 0 }
    let kind: RAMRegion.Kind
    if try flag(offsets.isDeviceROM) {
      guard try flag(offsets.isROMMode) else { return nil }
      kind = .flash
    } else {
      // A passed-through device's own memory is not read: that may have effects.
      guard try flag(offsets.isRAM), try !flag(offsets.isDeviceRAM) else { return nil }
      kind = try flag(offsets.isReadOnly) ? .rom : try flag(offsets.isPersistent) ? .persistent : .ram
    }
    guard let block = try memory.pointer(at: region + offsets.block),
      let host = try memory.pointer(at: block + offsets.host)
    else { return nil }
    return (kind, host + offset)
  }

  /// The name of the memory region at `region`; empty when it has none.
  func name(of region: HVA) -> String {
    guard let name = try? memory.pointer(at: region + offsets.name) else { return "" }
    return (try? memory.string(at: name)) ?? ""
  }

  /// The devices of the type `name` that have registers: the object and where its register block lies.
  func devices(ofType name: String) throws(TargetError) -> [(object: HVA, block: GPA)] {
    var found: [(object: HVA, block: GPA)] = []
    for range in try ranges() where range.memory == nil {
      // Object -> ObjectClass -> TypeImpl -> name (qom/object.c).
      guard let owner = try memory.pointer(at: range.region + offsets.owner),
        !found.contains(where: { $0.object == owner }),
        let objectClass = try? memory.pointer(at: owner + offsets.objectClass),
        let type = try? memory.pointer(at: objectClass + offsets.type),
        let text = try? memory.pointer(at: type + offsets.typeName), (try? memory.string(at: text)) == name
      else { continue }
      found.append((owner, GPA(range.addresses.start.rawValue &- range.offset)))
    }
    return found
  }

  private struct Offsets {
    let ranges, count: UInt64
    let rangeSize, region, regionOffset, start, size: UInt64
    let isRAM, isDeviceRAM, isDeviceROM, isROMMode, isReadOnly, isPersistent, block, host, owner, name: UInt64
    let objectClass, type, typeName: UInt64

    init(_ target: any HostTarget) throws(TargetError) {
      ranges = try target.offset(of: "ranges", in: "FlatView")
      count = try target.offset(of: "nr", in: "FlatView")
      rangeSize = try target.evaluate("sizeof(FlatRange)")
      region = try target.offset(of: "mr", in: "FlatRange")
      regionOffset = try target.offset(of: "offset_in_region", in: "FlatRange")
      start = try target.offset(of: "addr.start", in: "FlatRange")
      size = try target.offset(of: "addr.size", in: "FlatRange")
      isRAM = try target.offset(of: "ram", in: "MemoryRegion")
      isDeviceRAM = try target.offset(of: "ram_device", in: "MemoryRegion")
      isDeviceROM = try target.offset(of: "rom_device", in: "MemoryRegion")
      isROMMode = try target.offset(of: "romd_mode", in: "MemoryRegion")
      isReadOnly = try target.offset(of: "readonly", in: "MemoryRegion")
      isPersistent = try target.offset(of: "nonvolatile", in: "MemoryRegion")
      block = try target.offset(of: "ram_block", in: "MemoryRegion")
      host = try target.offset(of: "host", in: "RAMBlock")
      owner = try target.offset(of: "owner", in: "MemoryRegion")
      name = try target.offset(of: "name", in: "MemoryRegion")
      objectClass = try target.offset(of: "class", in: "Object")
      type = try target.offset(of: "type", in: "ObjectClass")
      typeName = try target.offset(of: "name", in: "struct TypeImpl")
    }
  }
}
