/// A Linux version as `linux_banner` gives it; only what decoding depends on.
public struct KernelVersion: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// Major and minor: 6 and 4 of 6.4.0.
  public let major: Int, minor: Int

  /// Version `major.minor`.
  public init(major: Int, minor: Int) {
    self.major = major
    self.minor = minor
  }

  /// The version in a banner, `Linux version 6.4.0-rc1 (…)`; nil when there is none.
  public init?(banner: String) {
    guard banner.hasPrefix("Linux version ") else { return nil }
    let numbers = banner.dropFirst("Linux version ".count).split(separator: ".", maxSplits: 2)
    func isDigit(_ character: Character) -> Bool { ("0"..."9").contains(character) }
    guard numbers.count >= 2, numbers[0].allSatisfy(isDigit), let major = Int(numbers[0]),
      let minor = Int(numbers[1].prefix(while: isDigit))
    else { return nil }
    self.init(major: major, minor: minor)
  }

  /// `6.4`.
  public var description: String { "\(major).\(minor)" }

  /// Orders by major, then minor.
  public static func < (left: Self, right: Self) -> Bool { (left.major, left.minor) < (right.major, right.minor) }
}
