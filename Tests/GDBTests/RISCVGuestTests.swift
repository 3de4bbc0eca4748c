import Foundation
import Testing

/// Sessions on a guest behind a real IOMMU: QEMU 10.0's, with a device that does DMA through it.
@Suite(.serialized, .timeLimit(.minutes(5))) struct RISCVGuestTests {
  /// Everything recorded from the first map call on, then QEMU's account of the same.
  static let recordAll = """
    iommu open $DIR/test.iommulens
    hbreak lab_workload_started
    continue
    iommu record
    hbreak lab_workload_done
    continue
    """

  /// The whole workload, recorded live and told by every command, under both generations of the driver.
  @Test(arguments: ["riscv-6.13", "riscv-7.2"]) func everyCommandOnARealDevice(driver: String) async throws {
    let output = try await Guest(driver: driver).debug(
      Self.recordAll + """

        iommu status
        iommu devices
        iommu regs
        iommu dump
        iommu dump -raw -iova 0xfffe0000-0xfffeffff
        iommu walk 0xfffe3010 -device-walk
        iommu walk 0xff923458
        iommu walk 0xd0000040 -device-walk
        iommu check
        iommu import $DIR/trace.log
        iommu check
        iommu diagnose
        iommu timeline -iova 0xfffd1000-0xfffd1fff
        """)
    let told = output.replacing(#/(?m)^( +\d+) +\d+\.\d{6}/#) { "\($0.1)  $TIME" }
    try expectKnown(told, "\(driver).txt")
  }

  /// An access of the device by the guest's own account, and what the plugin said of it at that moment.
  struct Access: Equatable {
    let iova, reached, faults: UInt64
    let isWrite: Bool
    /// Where the specification and the device model lead; 0 when refused.
    let specification, device: UInt64

    /// `access IOVA WRITE REACHED FAULTS SPECIFICATION DEVICE`
    init?(_ line: Substring) {
      let numbers = line.split(separator: " ").dropFirst().compactMap { UInt64($0.dropFirst(2), radix: 16) }
      guard line.hasPrefix("access "), numbers.count == 6 else { return nil }
      (iova, isWrite, reached, faults) = (numbers[0], numbers[1] == 1, numbers[2], numbers[3])
      (specification, device) = (numbers[4], numbers[5])
    }
  }

  static let walks = [
    Guest(driver: "riscv-6.13"), Guest(driver: "riscv-7.2"), Guest(driver: "riscv-7.2", riscv: ["--cache", "off"]),
    Guest(driver: "riscv-6.13", riscv: ["--iommu", "sv39"]),
    Guest(driver: "riscv-7.2", riscv: ["--iommu", "sv48"], cpu: "sv39"),
  ]

  /// What the device does is what the device walk says, for every access: by the memory that was read and written, not by
  /// anybody's word. The specification walk says otherwise where QEMU leaves the specification, and there alone.
  @Test(arguments: walks) func theDeviceDoesWhatTheDeviceWalkSays(guest: Guest) async throws {
    let output = try await guest.debug(
      """
      python
      import json
      class Done(gdb.Breakpoint):
        def stop(self):
          dma = gdb.parse_and_eval("*dma")
          iova, write = int(dma["iova"]), int(dma["write"])
          command = "iommu walk 0x%x -device 00:01.0 -device-walk %s -json" % (iova, "-write" if write else "")
          answer = json.loads(gdb.execute(command, to_string=True))
          outcome = answer["outcome"]
          isAllowed = ("W" if write else "R") in outcome.get("flags", "")
          print("access 0x%x 0x%x 0x%x 0x%x %s %s" % (
            iova, write, int(dma["reached"]), int(dma["faults"]), outcome["target"] if isAllowed else "0x0",
            answer["device_walk"]["result"].get("target", "0x0")))
          return False
      Done("lab_dma_done", type=gdb.BP_HARDWARE_BREAKPOINT)
      end
      hbreak lab_workload_done
      continue
      """)
    let accesses = output.split(separator: "\n").compactMap(Access.init)
    try #require(accesses.count == 15, "\(output)")
    let isCaching = !guest.riscv.contains("off")
    for access in accesses {
      // Unmapped, not invalidated: the cache answers.
      let isStale = access.iova == 0xfffd_1078 && isCaching
      #expect(access.device == (isStale ? 0 : access.reached), "\(access)")
      // 64 KiB by contiguous entries, of which only page 8 is where it should be.
      let isTakenApart = guest.driver == "riscv-7.2" && [0xfffe_0000, 0xfffe_3010, 0xfffe_f020].contains(access.iova)
      #expect((access.specification == access.device) == !isTakenApart, "\(access)")
      // A page that was cached for reading refuses a write without a record; 8 bytes are tried as twice 4.
      let isSilent = access.iova == 0xffff_e058 && isCaching
      #expect(access.faults == (access.reached != 0 || isSilent ? 0 : 2), "\(access)")
    }
    #expect(accesses.count { $0.reached == 0 } == (isCaching ? 5 : 6))
    #expect(Set(accesses.map(\.isWrite)) == [true, false])
  }

  /// What the guest does, and all that is named for it.
  struct Cause: Sendable, CustomTestStringConvertible {
    let guest: Guest
    let titles: [String]
    var testDescription: String { guest.testDescription }

    init(_ driver: String, _ options: [String], _ titles: String...) {
      (guest, self.titles) = (Guest(driver: driver, riscv: options), titles)
    }
  }

  static let causes = [
    Cause(
      "riscv-7.2", ["--step", "contiguous"],
      "1. QEMU 10.0 riscv-iommu ignores N in contiguous (Svnapot) entries: it takes 0xfffe0000 to 0x88408000, not to "
        + "0x88400000   (15 of 15 pages)"),
    Cause(
      "riscv-6.13", ["--step", "contiguous"],
      "No cause to name: all 6 recorded map calls left the tables as they should."),
    Cause(
      "riscv-6.13", ["--step", "stale"],
      "1. the device can still reach 0xfffd1000 through its cache: the entry is gone, and nothing has invalidated it since   "
        + "(1 of 5 pages)",
      "2. the device asks for 0xfffd0070, which nothing maps   (2 of 15 runs)"),
    Cause(
      "riscv-7.2", ["--step", "stale", "--cache", "off"],
      "1. the device asks for 0xfffd0070, which nothing maps   (4 of 16 runs)"),
    Cause(
      "riscv-6.13", ["--step", "faults"], "1. the device asks for 0xd0000040, which nothing maps   (4 of 17 runs)"),
    Cause(
      "riscv-7.2", ["--step", "faults", "--faults", "unread"],
      "1. the device asks for 0xd0000040, which nothing maps   (4 of 17 runs)",
      "2. faults are silent: 6 faults wait in the device's queue, and nobody has read one   (6 of 6 queued faults)"),
  ]

  /// Named from the guest and QEMU's trace alone.
  @Test(arguments: causes) func namesTheCause(_ cause: Cause) async throws {
    let output = try await cause.guest.debug(
      Self.recordAll + "\niommu import $DIR/trace.log\necho ====\\n\niommu diagnose\n")
    let diagnosis = try #require(output.components(separatedBy: "====\n").last)
    let titles = diagnosis.components(separatedBy: "\n").filter { $0.contains(#/^(\d+\.|No cause) /#) }
    #expect(titles == cause.titles, "\(output)")
  }
}
