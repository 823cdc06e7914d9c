//! std's atomics and tokio's channels, each of whose operations another thread of a shuttle model may come before.
//!
//! shuttle's own atomics exist only within a model, and it has no channels for tasks; what it needs of either is to be asked who goes on. The operations
//! themselves are tokio's, which are checked by loom there, and are taken as one step each. Like shuttle's, all are sequentially consistent here.

/// Another thread may go on before what follows, where this is one of a model.
fn turn() {
    // A thread that fails is not to be stopped on its way out.
    if !std::thread::panicking() && shuttle::current::try_get_current_task().is_some() {
        // Every operation of an atomic of shuttle is a turn.
        shuttle::sync::atomic::AtomicBool::new(false).load(atomic::Ordering::SeqCst);
    }
}

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::Ordering;

    use super::turn;

    macro_rules! modelled {
        ($($visibility:vis $name:ident: $value:ty;)+) => {$(
            #[derive(Debug, Default)]
            $visibility struct $name(std::sync::atomic::$name);

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(std::sync::atomic::$name::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    turn();
                    self.0.load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    turn();
                    self.0.store(value, order);
                }
            }
        )+};
    }

    macro_rules! counting {
        ($($name:ident: $value:ty;)+) => {$(
            impl $name {
                pub(crate) fn fetch_add(&self, more: $value, order: Ordering) -> $value {
                    turn();
                    self.0.fetch_add(more, order)
                }

                pub(crate) fn fetch_sub(&self, less: $value, order: Ordering) -> $value {
                    turn();
                    self.0.fetch_sub(less, order)
                }
            }
        )+};
    }

    // Those that are fields of public types are as public as these.
    modelled! {
        pub(crate) AtomicBool: bool;
        pub AtomicU64: u64;
        pub AtomicUsize: usize;
    }

    counting! {
        AtomicU64: u64;
        AtomicUsize: usize;
    }
}

pub(crate) mod oneshot {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::sync::oneshot;

    use super::turn;

    #[derive(Debug)]
    pub(crate) struct Sender<T>(oneshot::Sender<T>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(oneshot::Receiver<T>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            turn();
            self.0.send(value)
        }

        pub(crate) fn is_closed(&self) -> bool {
            turn();
            self.0.is_closed()
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn close(&mut self) {
            turn();
            self.0.close();
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, oneshot::error::RecvError>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            turn();
            Pin::new(&mut self.0).poll(context)
        }
    }
}

pub(crate) mod mpsc {
    use tokio::sync::mpsc;

    pub(crate) use mpsc::error;

    use super::turn;

    #[derive(Debug)]
    pub(crate) struct Sender<T>(mpsc::Sender<T>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(mpsc::Receiver<T>);

    #[derive(Debug)]
    pub(crate) struct UnboundedSender<T>(mpsc::UnboundedSender<T>);

    #[derive(Debug)]
    pub(crate) struct UnboundedReceiver<T>(mpsc::UnboundedReceiver<T>);

    pub(crate) fn channel<T>(buffer: usize) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::channel(buffer);
        (Sender(sender), Receiver(receiver))
    }

    pub(crate) fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (UnboundedSender(sender), UnboundedReceiver(receiver))
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Clone for UnboundedSender<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Sender<T> {
        pub(crate) fn try_send(&self, value: T) -> Result<(), error::TrySendError<T>> {
            turn();
            self.0.try_send(value)
        }
    }

    impl<T> Receiver<T> {
        pub(crate) async fn recv(&mut self) -> Option<T> {
            turn();
            self.0.recv().await
        }
    }

    impl<T> UnboundedSender<T> {
        pub(crate) fn send(&self, value: T) -> Result<(), error::SendError<T>> {
            turn();
            self.0.send(value)
        }
    }

    impl<T> UnboundedReceiver<T> {
        pub(crate) async fn recv(&mut self) -> Option<T> {
            turn();
            self.0.recv().await
        }

        pub(crate) fn try_recv(&mut self) -> Result<T, error::TryRecvError> {
            turn();
            self.0.try_recv()
        }
    }
}
