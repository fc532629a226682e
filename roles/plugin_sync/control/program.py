from roles.plugin_sync.control.plan import Program
def executor_program():
    return Program(b"x","y")
