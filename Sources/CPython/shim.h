// Python's stable ABI as of 3.8, and as functions what its headers offer only as macros or as mutable globals.
//
// Nothing here links against libpython: the symbols come from the process that loads the extension (GDB, python3).
// Every name beyond Python's own starts with CPython_.
#ifndef IOMMULENS_CPYTHON_SHIM_H
#define IOMMULENS_CPYTHON_SHIM_H

// Python's configuration asks the C library for all its extensions, which renames a member of fd_set. Included first,
// this one keeps the definition that every other C module imported into Swift (libdispatch's, say) has.
#include <sys/select.h>

#define Py_LIMITED_API 0x03080000
#if __has_include(<Python.h>)
#include <Python.h>
#else
#error "Python.h was not found: install Debian's libpython3-dev and pkg-config (apt-get install libpython3-dev pkg-config)"
#endif

// Borrowed singletons.
static inline PyObject *CPython_none(void) { return Py_None; }
static inline PyObject *CPython_true(void) { return Py_True; }
static inline PyObject *CPython_false(void) { return Py_False; }

// Type checks; a subclass counts.
static inline int CPython_isBool(PyObject *object) { return PyBool_Check(object); }
static inline int CPython_isInt(PyObject *object) { return PyLong_Check(object); }
static inline int CPython_isFloat(PyObject *object) { return PyFloat_Check(object); }
static inline int CPython_isString(PyObject *object) { return PyUnicode_Check(object); }
static inline int CPython_isBytes(PyObject *object) { return PyBytes_Check(object); }
static inline int CPython_isList(PyObject *object) { return PyList_Check(object); }
static inline int CPython_isTuple(PyObject *object) { return PyTuple_Check(object); }
static inline int CPython_isDict(PyObject *object) { return PyDict_Check(object); }

// Borrowed exception classes. In the headers they are variables, which Swift 6 takes for shared mutable state.
static inline PyObject *CPython_exception(void) { return PyExc_Exception; }
static inline PyObject *CPython_typeError(void) { return PyExc_TypeError; }
static inline PyObject *CPython_valueError(void) { return PyExc_ValueError; }
static inline PyObject *CPython_recursionError(void) { return PyExc_RecursionError; }
static inline PyObject *CPython_keyboardInterrupt(void) { return PyExc_KeyboardInterrupt; }
static inline PyObject *CPython_systemError(void) { return PyExc_SystemError; }

// A method table's row. The function takes keywords, which the table's own type does not say.
static inline PyMethodDef CPython_method(const char *name, PyCFunctionWithKeywords function, const char *documentation) {
  PyMethodDef method = {name, (PyCFunction)(void (*)(void))function, METH_VARARGS | METH_KEYWORDS, documentation};
  return method;
}

// Fills a module's definition, which has to outlive the module, and creates the module.
static inline PyObject *CPython_createModule(
    PyModuleDef *definition, const char *name, const char *documentation, PyMethodDef *methods) {
  PyModuleDef filled = {PyModuleDef_HEAD_INIT, name, documentation, -1, methods, NULL, NULL, NULL, NULL};
  *definition = filled;
  return PyModule_Create(definition);
}

// An instance of a class whose substance is a retained Swift object (null until it is constructed).
typedef struct {
  PyObject_HEAD
  void *object;
} CPython_Instance;
static inline unsigned int CPython_classFlags(void) { return Py_TPFLAGS_DEFAULT; }

#endif
