import IOMMUModel
import Investigation
import LinuxKernel
import PageTables

/// Reads how the kernel had set up a device from what GDB printed at one stop: members of one `struct device`, whatever
/// expression led to it: `p *DEV->iommu_group`, `p DEV->kobj.name`, `p DEV->dma_ops`.
///
/// Linux 5.10 to 6.x `drivers/iommu/iommu.c`, `struct iommu_group`.
struct KernelStateReader: LineReader {
  /// Lines that one device's members may take.
  private static let longest = 64

  func read(at start: Int, of text: TextLines) -> Reading? {
    guard let first = Self.question(text[start]), ValueReader.answer(text[start + 1]) != nil else { return nil }
    var device = KernelState.Device(name: "", bus: "")
    var group: KernelState.Group?
    var index = start
    var end = start
    while index < text.count, index - start < Self.longest {
      if let (owner, member) = Self.question(text[index]), owner == first.owner {
        if let answer = ValueReader.answer(text[index + 1]) {
          Self.note(member, answer, &device, &group)
          index += 1
        }
        end = index + 1
      } else if text[index].hasPrefix("#")
        || text[index].hasPrefix("(gdb) ") && !text[index].contains(word: first.owner)
      {
        // Other evidence, or the program runs on.
        break
      }
      index += 1
    }
    guard let group, !device.name.isEmpty else { return nil }
    device.group = group.id
    if let requester = RequesterID(bdf: device.name) {
      device.bus = "pci"
      device.requester = device.requester ?? requester
    }
    var state = KernelState()
    (state.devices, state.groups) = ([device], [group])
    state.unknown = ["Only \(device.name) and its group were printed: there may be others."]
    return Reading(
      end: end, [Finding(lines: text.numbers(start..<end), evidence: .state(state))], noise: .transcript)
  }

  private static let members = ["->kobj.name", "->iommu_group", "->dma_ops", "->iommu->priv"]

  /// The device's expression and the member that a command prints.
  private static func question(_ line: ArraySlice<UInt8>) -> (owner: String, member: String)? {
    guard line.hasPrefix("(gdb) p"), line.count < 512, let space = line.dropFirst(6).firstIndex(of: 0x20) else {
      return nil
    }
    var expression = line[(space + 1)...].trimmed.text
    // `*(struct xt_iommu_master *)DEV->iommu->priv` and `*DEV->iommu_group` print what the member points to.
    if expression.hasPrefix("*(struct "), let close = expression.firstIndex(of: ")"),
      expression[..<close].hasSuffix("*")
    {
      expression = String(expression[expression.index(after: close)...])
    } else if expression.hasPrefix("*") {
      expression.removeFirst()
    }
    guard let member = members.first(where: { expression.hasSuffix($0) }) else { return nil }
    return (String(expression.dropLast(member.count)), member)
  }

  private static func note(
    _ member: String, _ answer: ArraySlice<UInt8>, _ device: inout KernelState.Device, _ group: inout KernelState.Group?
  ) {
    func value(_ name: String) -> UInt64? {
      var scanner = Scanner(answer)
      // The name as a whole: `domain` is also the end of `default_domain`.
      for start in ["{", " "] {
        scanner = Scanner(answer)
        if scanner.skip(past: "\(start)\(name) = ") { return scanner.number() }
      }
      return nil
    }
    func pointer(_ name: String) -> KVA? { value(name).flatMap { $0 == 0 ? nil : KVA($0) } }
    switch member {
    case "->kobj.name":
      var scanner = Scanner(answer)
      guard scanner.skip(past: "\"") else { return }
      device.name = scanner.take { $0 != 0x22 }.prefix(64).text
    case "->iommu_group":
      guard let number = value("id").flatMap({ Int(exactly: $0) }), value("default_domain") != nil else { return }
      group = KernelState.Group(id: number, defaultDomain: pointer("default_domain"), domain: pointer("domain"))
    case "->dma_ops":
      var scanner = Scanner(answer)
      guard scanner.skip(past: ") 0x") else { return }
      let operations = scanner.hexadecimal()
      let names = scanner.rest
      // Without operations of its own a device takes the direct ones.
      if operations == 0 { device.usesIOMMU = false }
      if names.contains(word: "<iommu_dma_ops>") { device.usesIOMMU = true }
    default:
      device.requester = value("rsid").flatMap { UInt32(exactly: $0) }.map(RequesterID.init(rawValue:))
      device.attached = pointer("domain")
    }
  }
}
