internal import IOMMUModel
internal import Investigation
internal import PageTables
internal import Reports

// The one method of `Session` that changes the target.

extension Session {
  /// Whose access is meant: the device that was named, else the only one that is translated.
  private func asker(_ arguments: Arguments) throws -> RequesterID {
    if let device = try arguments.device() { return device }
    guard let requester = try view.table(TableSelector()).requester else {
      throw InvalidArgument("Name the device whose access is meant, with -device.")
    }
    return requester
  }

  /// Asks the device, where `intrusive` says that this is meant.
  func ask(_ arguments: Arguments) throws -> AskedTranslation {
    guard side == .kernel else {
      throw TargetError("The device is asked through the guest's gdbstub: in the GDB on the kernel.")
    }
    guard try arguments.optionalBool("intrusive") == true else {
      throw InvalidArgument(
        "This writes to the device's registers, and what the device refuses it reports to the guest as a fault. "
          + "Say -intrusive if that is meant; `iommu walk -device-walk` changes nothing.")
    }
    let process = try arguments.optionalUInt64("process")
    guard process.map({ $0 >> 20 == 0 }) ?? true else {
      throw InvalidArgument("A process id has 20 bits, and \(hex(process ?? 0)) has more.")
    }
    return try investigator.ask(
      DebugRequest(
        requester: try asker(arguments), iova: IOVA(try arguments.uint64("iova")),
        writes: try arguments.optionalBool("write") ?? false, executes: try arguments.optionalBool("execute") ?? false,
        process: process.map { UInt32(truncatingIfNeeded: $0) },
        isPrivileged: try arguments.optionalBool("privileged") ?? false))
  }
}

var askMethods: [CFunction] {
  [
    {
      session(
        $0, $1, $2,
        "ask(iova, device=None, write=False, execute=False, process=None, privileged=False, intrusive=False, form='text')",
        """
        Asks the device itself where it would send `iova`, by its debug registers: writes to them, and a refusal is reported
        to the guest as a fault. Does nothing unless `intrusive` says that this is meant.
        """
      ) { session, arguments in
        let asked = try session.ask(arguments)
        return try arguments.answer {
          Terminal.asked(asked)
        } data: {
          Structured.asked(asked)
        }
      }
    }
  ]
}
