public import IOMMUModel
public import PageTables

/// Where the members of the kernel's structures lie, from debug information. Each is asked for once per symbol file.
public final class StructureLayouts {
  /// A member's place in its structure.
  public struct Member: Hashable, Sendable {
    /// Bytes from the structure's start.
    public let offset: UInt64
    /// Bytes that it takes.
    public let size: UInt64
  }

  private let target: any Target
  private var known: [String: Member?] = [:]

  /// The layouts of the kernel that `target` holds.
  public init(target: any Target) { self.target = target }

  /// The member at `path` (`kobj.name`) of `type` (`struct device`); nil where this kernel has none.
  public func member(_ path: String, of type: String) -> Member? {
    let key = "\(type).\(path)"
    if let known = known[key] { return known }
    let found = (try? target.offset(of: path, in: type)).flatMap { offset in
      (try? target.evaluate("sizeof(((\(type) *)0)->\(path))")).map { Member(offset: offset, size: $0) }
    }
    known[key] = .some(found)
    return found
  }
}

/// Reads members of the kernel's structures from guest memory.
public struct StructureReader {
  /// Items of a list that are followed at most; a longer list is a broken one. What is done with devices, groups and domains
  /// compares each with each.
  public static let listLimit = 1 << 14

  private let layouts: StructureLayouts
  private let kernel: KernelMemory

  /// A reader of `kernel`.
  public init(layouts: StructureLayouts, kernel: KernelMemory) {
    self.layouts = layouts
    self.kernel = kernel
  }

  /// Whether this kernel's `type` has a member at `path`.
  public func has(_ path: String, of type: String) -> Bool { layouts.member(path, of: type) != nil }

  /// The integer or pointer at `path` in the structure at `address`, at most 8 bytes wide.
  public func value(_ path: String, of type: String, at address: KVA) throws(TargetError) -> UInt64 {
    guard let member = layouts.member(path, of: type) else {
      throw TargetError("`\(type)` of this kernel has no member `\(path)`, or the kernel has no debug information.")
    }
    // Members are aligned to their size, so none crosses an 8-byte word.
    let place = address + member.offset
    let word = try kernel.word(at: KVA(place.rawValue & ~7)) >> ((place.rawValue & 7) * 8)
    return member.size >= 8 ? word : word & ((1 << (member.size * 8)) - 1)
  }

  /// The pointer at `path`; nil for a null pointer.
  public func pointer(_ path: String, of type: String, at address: KVA) throws(TargetError) -> KVA? {
    let value = try value(path, of: type, at: address)
    return value == 0 ? nil : KVA(value)
  }

  /// The pointers along `steps`, each a member of the structure that the one before it points to; nil where one is null.
  public func pointer(_ steps: [(path: String, type: String)], from address: KVA) throws(TargetError) -> KVA? {
    var place = address
    for step in steps {
      guard let next = try pointer(step.path, of: step.type, at: place) else { return nil }
      place = next
    }
    return place
  }

  /// The bytes before the first NUL, at most `limit` of them, as text.
  public func string(at address: KVA, limit: Int = 256) throws(TargetError) -> String {
    var bytes: [UInt8] = []
    var place = address
    while bytes.count < limit {
      var word = try kernel.word(at: KVA(place.rawValue & ~7)) >> ((place.rawValue & 7) * 8)
      for _ in 0..<8 - Int(place.rawValue & 7) {
        if word & 0xff == 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes.append(UInt8(truncatingIfNeeded: word))
        word >>= 8
      }
      place = KVA(place.rawValue & ~7) + 8
    }
    return String(decoding: bytes.prefix(limit), as: UTF8.self)
  }

  /// The text that the `char *` at `path` points to; nil for a null pointer.
  public func string(_ path: String, of type: String, at address: KVA) throws(TargetError) -> String? {
    guard let text = try pointer(path, of: type, at: address) else { return nil }
    return try string(at: text)
  }

  /// The structures on the `struct list_head` at `head`, which are linked by their member at `path`.
  public func list(_ head: KVA, of type: String, linkedBy path: String) throws(TargetError) -> [KVA] {
    guard let link = layouts.member(path, of: type) else {
      throw TargetError("`\(type)` of this kernel has no member `\(path)`, or the kernel has no debug information.")
    }
    var found: [KVA] = []
    var node = KVA(try kernel.word(at: head))
    while node != head {
      guard node.rawValue != 0, found.count < Self.listLimit else {
        throw TargetError("The list of `\(type)` at \(head) does not end: it is not set up yet, or damaged.")
      }
      found.append(KVA(node.rawValue &- link.offset))
      node = KVA(try kernel.word(at: node))
    }
    return found
  }
}
