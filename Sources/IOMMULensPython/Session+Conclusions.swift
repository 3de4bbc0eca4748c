internal import Evidence
internal import IOMMUModel
internal import Investigation
internal import LinuxKernel
internal import Reports

// What is there and what follows from it: devices, domains, registers, the checklist, the comparison, the causes, the report.

extension Session {
  /// What follows from everything recorded, the kernel's log as it is now included. A log that cannot be read (before the
  /// kernel has set it up, in a guest without one) is no reason to conclude nothing.
  func findings(reason: String, progress: WorkProgress? = nil) throws -> Findings {
    if side == .qemu { return try device.findings(reason: reason, progress: progress) }
    let store = try investigator.requireStore()
    if store.readOnly == nil, let profile = try? investigator.profile(), let records = try? investigator.kernelLog() {
      try store.append(EvidenceReader(profiles: [profile]).logLines(of: records))
    }
    return try investigator.findings(reason: reason, progress: progress)
  }
}

/// The methods that look at all there is.
var conclusionMethods: [CFunction] {
  [
    {
      session(
        $0, $1, $2, "devices(form='text')", "Who is behind the IOMMU, as the kernel and the device's tables see it."
      ) { session, arguments in
        let isQEMU = session.side == .qemu
        let state = isQEMU ? KernelState() : (try? session.investigator.kernelState()) ?? KernelState()
        let contexts = isQEMU ? try session.view.contexts() : try session.investigator.contexts(for: state)
        session.met.formUnion(contexts.map(\.requester))
        return try arguments.answer {
          Terminal.devices(contexts, state: state)
        } data: {
          Structured.devices(contexts, state: state)
        }
      }
    },
    {
      session($0, $1, $2, "probe(form='text')", "The checklist of an IOMMU's bring-up, as it stands now.") {
        session, arguments in
        try session.target.requireStub()
        let probe = try session.investigator.probe()
        return try arguments.answer {
          Terminal.probe(probe)
        } data: {
          Structured.probe(probe)
        }
      }
    },
    {
      session(
        $0, $1, $2, "domains(form='text')", "The domains that groups and devices use, and what is mapped in them."
      ) { session, arguments in
        let state = try session.investigator.kernelState()
        if state.devices.isEmpty, let why = state.unknown.first { throw TargetError(why) }
        let memory = try session.investigator.memory().source
        return try session.waiting { wait in
          let poll = wait.pollTables()
          return try arguments.answer {
            Terminal.domains(state, memory: memory, poll: poll)
          } data: {
            Structured.domains(state, memory: memory, poll: poll)
          }
        }
      }
    },
    {
      session($0, $1, $2, "registers(form='text')", "The device's registers, decoded.") { session, arguments in
        let (values, device) = (try session.view.registers(), try session.view.device())
        let block = try session.view.registerBlock()
        return try arguments.answer {
          Terminal.registers(values, device: device, block: block)
        } data: {
          Structured.registers(values, device: device, block: block)
        }
      }
    },
    {
      session(
        $0, $1, $2, "check(first=None, last=None, limit=None, form='text')",
        "Compares recorded calls, tables and device: at most `limit` groups of ranges, worst first; every range without one."
      ) { session, arguments in
        let limit = try arguments.optionalInt("limit").map { max($0, 0) }
        let iovas = try arguments.iovas()
        let findings = try session.waiting { try session.findings(reason: "check", progress: $0.progress) }
        return try arguments.answer {
          Terminal.check(of: findings, in: iovas, limit: limit)
        } data: {
          Structured.check(of: findings, in: iovas, limit: limit)
        }
      }
    },
    {
      session($0, $1, $2, "diagnose(form='text')", "The hypotheses that explain what disagrees, best first.") {
        session, arguments in
        let findings = try session.waiting { try session.findings(reason: "diagnose", progress: $0.progress) }
        return try arguments.answer {
          Terminal.diagnosis(of: findings)
        } data: {
          Structured.diagnosis(of: findings)
        }
      }
    },
    {
      session(
        $0, $1, $2, "import_texts(paths)",
        "Takes in evidence from text files; returns what was read and what was not."
      ) { session, arguments in
        let store = try session.investigator.requireStore()
        let paths = try arguments.stringList("paths")
        return .string(
          try session.waiting { wait in
            Layout.folded(
              try Terminal.imported(paths, tenants: tenants, progress: wait.progress) {
                () throws(InvestigationError) in store
              })
          })
      }
    },
    {
      session($0, $1, $2, "note(text)", "Writes a remark into the investigation.") { session, arguments in
        try session.investigator.requireStore().append(note: try arguments.string("text"))
        return nil
      }
    },
    {
      session(
        $0, $1, $2, "export(path, template=None, events=None, picture=None)",
        "Writes the investigation to a file that ends in .md, .json, .csv or .svg."
      ) { session, arguments in
        let export = try arguments.export()
        try session.waiting { wait in
          let findings = try session.findings(reason: "export", progress: wait.progress)
          // A report of part of what there is would be taken for one of all.
          if wait.progress.isStopped { throw WorkProgress.interruption("comparing; nothing was written") }
          try export.write(findings, of: session.investigator.requireStore(), progress: wait.progress)
        }
        return nil
      }
    },
  ]
}
