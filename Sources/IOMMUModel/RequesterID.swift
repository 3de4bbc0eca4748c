/// Who asks for a translation: a PCI requester id, bus 15:8, device 7:3, function 2:0, with the PCI segment above it.
public struct RequesterID: RawRepresentable, Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
  /// Segment in bits 31:16, requester id in bits 15:0.
  public let rawValue: UInt32

  /// The requester with this segment and requester id.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Reads `00:01.0`, `0000:00:01.0` (hexadecimal, as the kernel and lspci print it; leading zeros may be missing); nil for
  /// anything else.
  public init?(bdf text: some StringProtocol) {
    let colons = text.split(separator: ":", omittingEmptySubsequences: false)
    guard colons.count == 2 || colons.count == 3, let last = colons.last else { return nil }
    let slot = last.split(separator: ".", omittingEmptySubsequences: false)
    guard slot.count == 2,
      let segment = colons.count == 3 ? Self.number(colons[0], digits: 4) : 0,
      let bus = Self.number(colons[colons.count - 2], digits: 2),
      let device = Self.number(slot[0], digits: 2), device <= 0x1f,
      let function = Self.number(slot[1], digits: 1), function <= 7
    else { return nil }
    self.init(rawValue: segment << 16 | bus << 8 | device << 3 | function)
  }

  /// Up to `digits` hexadecimal digits and nothing else, no sign.
  private static func number(_ text: some StringProtocol, digits: Int) -> UInt32? {
    text.utf8.count <= digits && text.allSatisfy(\.isHexDigit) ? UInt32(text, radix: 16) : nil
  }

  /// The 16 bits that the device looks up.
  public var rsid: Int { Int(rawValue & 0xffff) }

  /// As the kernel prints it: `0000:00:01.0`.
  public var description: String {
    func digits(_ value: UInt32, _ width: Int) -> String {
      let text = String(value, radix: 16)
      return String(repeating: "0", count: max(0, width - text.count)) + text
    }
    return digits(rawValue >> 16, 4) + ":" + digits(rawValue >> 8 & 0xff, 2) + ":"
      + digits(rawValue >> 3 & 0x1f, 2) + "." + digits(rawValue & 7, 1)
  }

  /// Orders by segment, bus, device, function.
  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}
