/// Options of a kernel's configuration, as a `.config` or a list of them says.
public struct KernelConfiguration: Hashable, Sendable {
  /// Values by option without `CONFIG_`: `y`, `m`, text; nil for one that is not set.
  public var options: [String: String?]
  /// Whether it is a whole configuration, so that an option that is not in it is not set.
  public var isWhole: Bool

  /// These options.
  public init(options: [String: String?], isWhole: Bool) { (self.options, self.isWhole) = (options, isWhole) }

  /// What the XuanTie pair was found to need, from DMA in the host to a card in a guest (Linux 6.4). These are options of
  /// the kernel's core and VFIO, and hold for other IOMMUs as well.
  static let needed = [
    "IOMMU_IOVA", "IOMMU_API", "IOMMU_SUPPORT", "IOMMU_DMA", "VFIO", "VFIO_CONTAINER", "VFIO_IOMMU_TYPE1",
    "VFIO_VIRQFD", "VFIO_PCI_CORE", "VFIO_PCI_MMAP", "VFIO_PCI_INTX", "VFIO_PCI", "PCI", "PCI_DOMAINS",
    "PCI_DOMAINS_GENERIC", "KVM_VFIO",
  ]
  /// What must not be set: it takes VFIO's container interface over.
  static let unwanted = ["IOMMUFD"]

  /// Needed options that are not set, in a whole configuration also those that are not in it.
  public var missing: [String] {
    Self.needed.filter { name in
      switch options[name] {
      case .some(.none), .some(.some("n")): true
      case .none: isWhole
      default: false
      }
    }
  }

  /// Needed options that are set, but not built in, and unwanted ones that are set: `VFIO=m`, `IOMMUFD=y`.
  public var wrong: [String] {
    Self.needed.compactMap { name in
      guard let value = options[name] ?? nil, value != "y", value != "n" else { return nil }
      return "\(name)=\(value)"
    }
      + Self.unwanted.compactMap { name in
        guard let value = options[name] ?? nil, value != "n" else { return nil }
        return "\(name)=\(value)"
      }
  }

  /// Options that an excerpt says nothing of.
  public var unmentioned: [String] {
    isWhole ? [] : (Self.needed + Self.unwanted).filter { options[$0] == nil }
  }

  /// The comparison in one line, as the fact ``Fact/configuration`` keeps it.
  public var summary: String {
    var parts: [String] = []
    if !missing.isEmpty { parts.append("missing: " + missing.joined(separator: ", ")) }
    if !wrong.isEmpty { parts.append("wrong: " + wrong.joined(separator: ", ")) }
    if !unmentioned.isEmpty { parts.append("not mentioned: " + unmentioned.joined(separator: ", ")) }
    let text = parts.isEmpty ? "all as needed" : parts.joined(separator: "; ")
    return isWhole ? text : "excerpt of \(options.count) option\(options.count == 1 ? "" : "s"): \(text)"
  }

  /// Both, the later one's values first.
  func merged(with later: KernelConfiguration) -> KernelConfiguration {
    KernelConfiguration(options: options.merging(later.options) { $1 }, isWhole: isWhole || later.isWhole)
  }
}

/// Reads configurations: `CONFIG_X=y`, `# CONFIG_X is not set`, and `unset CONFIG_X` as people write it.
struct ConfigurationReader: LineReader {
  func read(at start: Int, of text: TextLines) -> Reading? {
    guard let first = Self.option(text[start]) else {
      if text[start].hasPrefix("CONFIG_"), !text[start].contains(where: { $0 >= 0x80 || $0.isSpace }) {
        return Reading(refusing: start..<start + 1, "It names an option, but no value for it.", in: text)
      }
      return nil
    }
    var configuration = KernelConfiguration(options: [first.name: first.value], isWhole: false)
    var end = start + 1
    var index = end
    // Comments and blank lines separate the sections of a configuration.
    while index < text.count, index - end < 24 {
      if let option = Self.option(text[index]) {
        configuration.options[option.name] = .some(option.value)
        end = index + 1
      } else if !text[index].isBlank, text[index].trimmed.first != 0x23 {
        break
      }
      index += 1
    }
    // What Kconfig writes always has its compiler's version.
    configuration.isWhole = configuration.options["CC_VERSION_TEXT"] != nil
    return Reading(
      end: end, [Finding(lines: text.numbers(start..<end), evidence: .configuration(configuration))])
  }

  private static func option(_ line: ArraySlice<UInt8>) -> (name: String, value: String?)? {
    var scanner = Scanner(line.trimmed)
    let isUnset = scanner.take("unset ")
    let isComment = !isUnset && scanner.take("# ")
    guard scanner.take("CONFIG_") else { return nil }
    let name = scanner.take(while: \.isIdentifier).text
    guard !name.isEmpty else { return nil }
    if isUnset { return scanner.isAtEnd ? (name, nil) : nil }
    if scanner.rest.elementsEqual(" is not set".utf8) { return (name, nil) }
    guard !isComment, scanner.take("=") else { return nil }
    let value = scanner.rest
    guard let first = value.first, first == 0x22 || value.allSatisfy({ !$0.isSpace && $0 < 0x80 }) else { return nil }
    return (name, value.prefix(256).text)
  }
}
