// Four kinds of 64-bit address meet in one investigation. Each is a type, so that one cannot pass for another.

/// A 64-bit address of one kind. Arithmetic wraps: an address read from a hostile table must never trap.
public protocol Address: RawRepresentable, Hashable, Comparable, Codable, Sendable, BitwiseCopyable,
  CustomStringConvertible
where RawValue == UInt64 {
  /// The address with these 64 bits; every value is an address.
  init(rawValue: UInt64)
}

extension Address {
  /// The address with these 64 bits.
  public init(_ bits: UInt64) { self.init(rawValue: bits) }

  /// Hexadecimal with `0x`, as GDB prints a pointer.
  public var description: String { hex(rawValue) }

  /// The address `bytes` further on, modulo 2^64.
  public static func + (address: Self, bytes: UInt64) -> Self { Self(rawValue: address.rawValue &+ bytes) }

  /// The distance in bytes, modulo 2^64.
  public static func - (left: Self, right: Self) -> UInt64 { left.rawValue &- right.rawValue }

  /// Orders by the unsigned value.
  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

  /// The start of the 4 KiB page that holds this address.
  public var page: Self { Self(rawValue: rawValue & ~0xfff) }

  /// The distance in bytes from the start of the 4 KiB page, 0 to 4095.
  public var pageOffset: Int { Int(truncatingIfNeeded: rawValue & 0xfff) }
}

/// What a device puts on the bus; the input of an I/O page table.
public struct IOVA: Address {
  /// The 64 bits.
  public let rawValue: UInt64
  /// The IOVA with these 64 bits.
  public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A guest-physical address: what a page-table entry holds and where tables lie.
public struct GPA: Address {
  /// The 64 bits.
  public let rawValue: UInt64
  /// The guest-physical address with these 64 bits.
  public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A virtual address of the guest's kernel: what its pointers hold.
public struct KVA: Address {
  /// The 64 bits.
  public let rawValue: UInt64
  /// The kernel-virtual address with these 64 bits.
  public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A virtual address of the process that runs the guest (QEMU).
public struct HVA: Address {
  /// The 64 bits.
  public let rawValue: UInt64
  /// The host-virtual address with these 64 bits.
  public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// `value` in hexadecimal with `0x` and no leading zeros.
public func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

/// A size as a person says it: `4 KiB`, `2 MiB`, `6 KiB`; bytes when it is not whole.
public func size(_ bytes: UInt64) -> String {
  for (unit, shift) in [("GiB", UInt64(30)), ("MiB", 20), ("KiB", 10)] where bytes >= 1 << shift {
    if bytes % (1 << shift) == 0 { return "\(bytes >> shift) \(unit)" }
  }
  return "\(bytes) bytes"
}
