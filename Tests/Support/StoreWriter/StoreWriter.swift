import Foundation
import IOMMUModel
import Investigation
import PageTables

/// Writes to an investigation from a process of its own, for the tests of the store.
///
/// `store-writer append FILE COUNT [PAUSE]` stores so many map calls and prints each one's number as soon as it is stored, then
/// waits so many microseconds;
/// `store-writer open FILE` tells why the file cannot be opened, or be written to, as an unprivileged user when it is started as
/// root.
@main struct StoreWriter {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 3 else { throw InvestigationError("store-writer append|open FILE [COUNT [PAUSE]]") }
    if arguments[1] == "open" {
      if getuid() == 0 { setuid(65534) }
      do throws(InvestigationError) {
        let store = try InvestigationStore(path: arguments[2], side: "reader")
        print("opened, \(try store.calls().count) calls")
        try store.requireWritable()
      } catch { print(error.description) }
      return
    }
    let store = try InvestigationStore(path: arguments[2], side: "writer")
    for position in 0..<(Int(arguments[3]) ?? 0) {
      let call = DriverCall(
        function: "xt_iommu_map",
        operation: .map(target: GPA(UInt64(position) << 12), protection: .read, allocation: nil),
        domain: KVA(UInt64(getpid())), iova: IOVA(UInt64(position) << 12), length: 4096)
      let stored = try store.append(RecordedCall(number: 0, call: call, root: nil, requester: nil))
      FileHandle.standardOutput.write(Data("\(stored.number)\n".utf8))
      if arguments.count > 4 { usleep(UInt32(arguments[4]) ?? 0) }
    }
  }
}
