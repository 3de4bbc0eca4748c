public import IOMMUModel

/// Options of a kernel's configuration, as a `.config` or a list of them says.
public struct KernelConfiguration: Hashable, Sendable {
  /// Values by option without `CONFIG_`: `y`, `m`, text; nil for one that is not set.
  public var options: [String: String?]
  /// Whether it is a whole configuration, so that an option that is not in it is not set.
  public var isWhole: Bool
  /// The kernel that it is of; nil where it does not say.
  public var version: KernelVersion?

  /// These options.
  public init(options: [String: String?], isWhole: Bool, version: KernelVersion? = nil) {
    (self.options, self.isWhole, self.version) = (options, isWhole, version)
  }

  /// The configuration in a whole file; nil when no line of it sets an option.
  public init?(file: [UInt8]) {
    self.init(options: [:], isWhole: true)
    for line in file.split(separator: 0x0a) {
      if let option = Option(line: line) { options[option.name] = .some(option.value) }
      version = version ?? Self.version(header: line)
    }
    if options.isEmpty { return nil }
  }

  /// One option, as a line says it.
  public struct Option: Hashable, Sendable {
    /// Its name without `CONFIG_`.
    public let name: String
    /// Its value; nil when it is not set.
    public let value: String?

    /// The option in `CONFIG_X=y`, `# CONFIG_X is not set`, or `unset CONFIG_X` as people write it; nil in any other line.
    public init?(line: ArraySlice<UInt8>) {
      func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0d }
      var rest = line.drop(while: isSpace)
      while let last = rest.last, isSpace(last) { rest.removeLast() }
      func take(_ word: String) -> Bool {
        guard rest.starts(with: word.utf8) else { return false }
        rest = rest.dropFirst(word.utf8.count)
        return true
      }
      let isUnset = take("unset ")
      let isComment = !isUnset && take("# ")
      guard take("CONFIG_") else { return nil }
      let letters = rest.prefix { byte in
        byte == 0x5f || (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte & ~0x20)
      }
      guard !letters.isEmpty else { return nil }
      rest = rest.dropFirst(letters.count)
      name = String(decoding: letters, as: UTF8.self)
      if isUnset || rest.elementsEqual(" is not set".utf8) {
        guard !isUnset || rest.isEmpty else { return nil }
        value = nil
        return
      }
      guard !isComment, take("="), let first = rest.first,
        first == 0x22 || rest.allSatisfy({ !isSpace($0) && $0 < 0x80 })
      else { return nil }
      value = String(decoding: rest.prefix(256), as: UTF8.self)
    }
  }

  /// The version in the line that Kconfig writes first: `# Linux/riscv 6.1.192 Kernel Configuration`.
  public static func version(header line: ArraySlice<UInt8>) -> KernelVersion? {
    let words = line.prefix(128).split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
    guard words.count == 5, words[0] == "#", words[1].hasPrefix("Linux/"), words[3] == "Kernel" else { return nil }
    return KernelVersion(banner: "Linux version \(words[2])")
  }

  // MARK: What is needed

  /// What the XuanTie pair was found to need, from DMA in the host to a card in a guest (Linux 6.4). These are options of
  /// the kernel's core and VFIO, and hold for other IOMMUs as well.
  public static let needed = [
    "IOMMU_IOVA", "IOMMU_API", "IOMMU_SUPPORT", "IOMMU_DMA", "VFIO", "VFIO_CONTAINER", "VFIO_IOMMU_TYPE1",
    "VFIO_VIRQFD", "VFIO_PCI_CORE", "VFIO_PCI_MMAP", "VFIO_PCI_INTX", "VFIO_PCI", "PCI", "PCI_DOMAINS",
    "PCI_DOMAINS_GENERIC", "KVM_VFIO",
  ]
  /// What must not be set: it takes VFIO's container interface over.
  static let unwanted = ["IOMMUFD"]

  /// Why this kernel does not need a needed option that it has not; nil when it does.
  private func excuse(_ name: String) -> String? {
    switch name {
    // `drivers/vfio/Kconfig`: until then the container was always built in.
    case "VFIO_CONTAINER": version.map { $0 < KernelVersion(major: 6, minor: 2) } == true ? "from 6.2 on" : nil
    // `virt/kvm/Kconfig`: KVM selects it where it has a use for it.
    case "KVM_VFIO": isOff("KVM") ? "no KVM" : nil
    default: nil
    }
  }

  /// Whether it is known not to be set.
  private func isOff(_ name: String) -> Bool {
    switch options[name] {
    case .some(.none), .some(.some("n")): true
    case .none: isWhole
    default: false
    }
  }

  /// Whether this kernel was built to give no device away: nothing of VFIO is in it.
  public var isWithoutVFIO: Bool { Self.needed.filter(Self.isOfVFIO).allSatisfy(isOff) }

  private static func isOfVFIO(_ name: String) -> Bool { name == "KVM_VFIO" || name.hasPrefix("VFIO") }

  /// Needed options that are not set, in a whole configuration also those that are not in it. Those of VFIO are needed
  /// where one of them is set.
  public var missing: [String] {
    let isWithoutVFIO = isWithoutVFIO
    return Self.needed.filter { isOff($0) && excuse($0) == nil && !(isWithoutVFIO && Self.isOfVFIO($0)) }
  }

  /// Needed options that are not set and that this kernel does without, and why: `KVM_VFIO (no KVM)`.
  public var notNeeded: [String] {
    if isWithoutVFIO { return ["VFIO (no option of it is set, and no device can be given to a guest)"] }
    return Self.needed.compactMap { name in isOff(name) ? excuse(name).map { "\(name) (\($0))" } : nil }
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

  /// The comparison in one line, as an investigation keeps it.
  public var summary: String {
    var parts: [String] = []
    if !missing.isEmpty { parts.append("missing: " + missing.joined(separator: ", ")) }
    if !wrong.isEmpty { parts.append("wrong: " + wrong.joined(separator: ", ")) }
    if !unmentioned.isEmpty { parts.append("not mentioned: " + unmentioned.joined(separator: ", ")) }
    if parts.isEmpty { parts.append("all as needed") }
    if !notNeeded.isEmpty { parts.append("not needed: " + notNeeded.joined(separator: ", ")) }
    let text = parts.joined(separator: "; ")
    return isWhole ? text : "excerpt of \(options.count) option\(options.count == 1 ? "" : "s"): \(text)"
  }

  /// Both, the later one's values first.
  public func merged(with later: KernelConfiguration) -> KernelConfiguration {
    KernelConfiguration(
      options: options.merging(later.options) { $1 }, isWhole: isWhole || later.isWhole,
      version: later.version ?? version)
  }
}
